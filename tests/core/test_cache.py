"""What is kept, for how long, under which question, and how much of it."""

from dataclasses import replace

import numpy as np
import pytest

from telemetry_mcp.cache import ITEM_BYTES, CacheSettings, Entry, MemoryCache, key_of, ttl_s
from telemetry_mcp.model import Reply, Series, Service
from telemetry_mcp.question import (
    ChangeQuery,
    CheckQuery,
    DependencyQuery,
    IncidentQuery,
    NativeQuery,
    Question,
    SeriesQuery,
    ServiceQuery,
    Window,
)

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
HOUR = Window(NOW_MS - HOUR_MS, NOW_MS)
LATER = Window(HOUR.start_ms + 1000, HOUR.end_ms + 1000)
CPU = SeriesQuery(("checkout",), ("cpu",), HOUR, 60_000)
SETTINGS = CacheSettings()


def past(query: SeriesQuery, ago_ms: int) -> SeriesQuery:
    return replace(query, window=Window(HOUR.start_ms - ago_ms, NOW_MS - ago_ms))


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        pytest.param(replace(CPU, latest=True), 10, id="live-reading"),
        pytest.param(CPU, 30, id="window-up-to-now-half-a-step"),
        pytest.param(replace(CPU, step_ms=1000), 10, id="fine-window-up-to-now"),
        pytest.param(replace(CPU, step_ms=HOUR_MS), 300, id="coarse-window-up-to-now"),
        pytest.param(past(CPU, 119_999), 30, id="window-that-may-still-change"),
        pytest.param(past(CPU, 120_000), 300, id="closed-window"),
        pytest.param(ServiceQuery(HOUR), 60, id="inventory"),
        pytest.param(IncidentQuery(HOUR), 10, id="incidents"),
        pytest.param(ChangeQuery(HOUR), 10, id="changes"),
        pytest.param(NativeQuery("up", HOUR, 60_000), 10, id="native"),
    ],
)
def test_how_long_an_answer_holds_goes_by_what_was_asked(query: Question[object], seconds: float) -> None:
    assert ttl_s(query, Reply(), SETTINGS, NOW_MS) == seconds


def test_the_times_are_the_users() -> None:
    settings = CacheSettings(live=1, closed=2, inventory=3)
    kinds: list[Question[object]] = [replace(CPU, latest=True), past(CPU, HOUR_MS), ServiceQuery(HOUR)]
    assert [ttl_s(query, Reply(), settings, NOW_MS) for query in kinds] == [1, 2, 3]


@pytest.mark.parametrize("query", [replace(CPU, latest=True), ServiceQuery(HOUR)])
def test_questions_about_now_are_equal_whenever_they_are_asked(query: SeriesQuery | ServiceQuery) -> None:
    assert key_of("a", query) == key_of("a", replace(query, window=LATER))
    assert key_of("a", query) != key_of("a", replace(query, window=Window(0, 60_000)))


def test_equal_questions_have_equal_keys() -> None:
    assert key_of("a", CPU) == key_of("a", replace(CPU, window=Window(HOUR.start_ms, HOUR.end_ms)))


def test_questions_that_differ_have_different_keys() -> None:
    questions: list[Question[object]] = [
        CPU,
        replace(CPU, services=()),
        replace(CPU, services=("checkout", "cart")),
        replace(CPU, services=("checkout', 'cart",)),
        replace(CPU, metrics=("memory",)),
        replace(CPU, step_ms=30_000),
        replace(CPU, window=LATER),
        replace(CPU, latest=True),
        ServiceQuery(HOUR),
        IncidentQuery(HOUR),
        IncidentQuery(Window(HOUR.start_ms + 60_000, HOUR.end_ms + 60_000)),
        IncidentQuery(HOUR, statuses=("triggered",)),
        IncidentQuery(HOUR, services=("triggered",)),
        IncidentQuery(HOUR, limit=5),
        ChangeQuery(HOUR),
        DependencyQuery(HOUR),
        NativeQuery("up", HOUR, 60_000),
        NativeQuery("down", HOUR, 60_000),
        CheckQuery(),
    ]
    keys = {key_of(source, question) for source in ("a", "b") for question in questions}
    assert len(keys) == 2 * len(questions)


def reply(points: int) -> Reply[Series]:
    return Reply([Series("checkout", "cpu", np.arange(points), np.zeros(points))])


async def test_a_kept_answer_comes_back_until_its_time_is_over() -> None:
    now = 100.0
    cache = MemoryCache(clock=lambda: now)
    entry = Entry(Reply([Service("checkout")]), NOW_MS)
    await cache.put("k", entry, 10)
    now = 109.9
    assert (await cache.get(["k"]))[0] is entry
    assert (await cache.get(["other"]))[0] is None
    now = 110.0
    assert (await cache.get(["k"]))[0] is None


async def test_the_least_recently_used_goes_first_when_the_bytes_run_out() -> None:
    cache = MemoryCache(max_mb=1)
    third = (2**20 // 3 - 2 * ITEM_BYTES) // 16
    for key in ("a", "b", "c"):
        await cache.put(key, Entry(reply(third), 0), 60)
    assert (await cache.get(["a"]))[0] is not None
    await cache.put("d", Entry(reply(third), 0), 60)
    kept = [key for key in "abcd" if (await cache.get([key]))[0]]
    assert kept == ["a", "c", "d"]
    assert cache.entries.currsize <= 2**20


async def test_an_answer_larger_than_the_whole_cache_is_not_kept_and_drives_nothing_out() -> None:
    cache = MemoryCache(max_mb=1)
    await cache.put("small", Entry(reply(10), 0), 60)
    await cache.put("oversize", Entry(reply(2**16), 0), 60)
    assert (await cache.get(["oversize"]))[0] is None
    assert (await cache.get(["small"]))[0] is not None


async def test_an_answer_that_is_renewed_counts_once() -> None:
    cache = MemoryCache(max_mb=1)
    for _ in range(3):
        await cache.put("k", Entry(reply(100), 0), 60)
    assert cache.entries.currsize == 2 * ITEM_BYTES + 1600


def test_incidents_are_one_question_within_the_minute() -> None:
    def key(end_ms: int) -> str:
        return key_of("pagerduty", IncidentQuery(Window(end_ms - 3_600_000, end_ms)))

    minute = NOW_MS // 60_000 * 60_000
    assert key(minute) == key(minute + 59_999)
    assert key(minute) != key(minute + 60_000)
