"""What a plugin hands over is checked before anything relies on it, and cleaned before anybody reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from telemetry_mcp import (
    Context,
    Incident,
    IncidentQuery,
    Reply,
    Series,
    SeriesQuery,
    Service,
    ServiceQuery,
    Source,
    SourceSettings,
    Window,
)
from telemetry_mcp.contract import AHEAD_MS, fit
from telemetry_mcp.guard import Guard
from telemetry_mcp.registry import Instance
from telemetry_mcp.secret import Redactor

HOUR = Window(1_700_000_000_000, 1_700_003_600_000)
CPU = SeriesQuery(("checkout",), ("cpu",), HOUR, 60_000)
NEWEST = SeriesQuery(("checkout",), ("cpu",), HOUR, 60_000, latest=True)


def instance() -> Instance:
    settings = SourceSettings(plugin="test")
    guard = Guard(timeout_s=1, max_concurrency=1)
    return Instance("one", "test", Source(settings, Context("one")), guard, Redactor(settings))


def series(*times: int, service: str = "checkout") -> Series:
    return Series(service, "cpu", np.array(times, dtype=np.int64), np.ones(len(times)))


def incident(**fields: Any) -> Incident:
    return Incident(**{"id": "P1", "title": "down", "status": "triggered", "opened_ms": HOUR.start_ms, **fields})


@pytest.mark.parametrize("times", [np.uint64, np.int32, np.uint32])
def test_arrays_of_other_numbers_become_those_of_the_model(times: Any) -> None:
    given = Series("checkout", "cpu", np.array([5, 3], times), np.array([1, 2]), weights=np.array([1, 1]))
    (told,) = fit(Reply([given]), instance(), CPU).items
    assert (str(told.timestamps_ms.dtype), str(told.values.dtype)) == ("int64", "float64")
    assert told.weights is not None
    assert str(told.weights.dtype) == "float64"
    assert (told.timestamps_ms.tolist(), told.values.tolist()) == ([5, 3], [1, 2])


def test_numbers_beyond_every_measurement_are_unknown_and_those_next_to_0_are_0() -> None:
    values = np.array([1.7e308, -1e101, 2.0**63, 5e-324, -1e-101, 0, np.inf, np.nan])
    given = Series("checkout", "cpu", np.arange(8), values, weights=values)
    (told,) = fit(Reply([given]), instance(), CPU).items
    wanted = [np.nan, np.nan, 2.0**63, 0, 0, 0, np.nan, np.nan]
    np.testing.assert_array_equal(told.values, wanted)
    np.testing.assert_array_equal(told.weights, wanted)
    assert values[0] == 1.7e308


def test_numbers_as_they_should_be_are_not_copied() -> None:
    given = series(1, 2, 3)
    (told,) = fit(Reply([given]), instance(), CPU).items
    assert told.values is given.values
    assert told.timestamps_ms is given.timestamps_ms


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("checkout", "must hand over Service, not str"),
        (None, "must hand over Service"),
        (Service(7), "Service.name must be str, not int"),  # type: ignore[arg-type]
        (Service("a", tags="no mapping"), "Service.tags must be Mapping"),  # type: ignore[arg-type]
    ],
)
def test_an_item_that_breaks_the_contract_is_refused(item: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        fit(Reply([item]), instance(), ServiceQuery(HOUR))


@pytest.mark.parametrize("opened_ms", [None, "now", 1.5, -1, 10**18])
def test_a_time_that_is_not_epoch_milliseconds_is_refused(opened_ms: Any) -> None:
    with pytest.raises(TypeError, match="opened_ms must be"):
        fit(Reply([incident(opened_ms=opened_ms)]), instance(), IncidentQuery(HOUR))


def test_timestamps_in_nanoseconds_are_refused() -> None:
    with pytest.raises(TypeError, match="must be epoch milliseconds"):
        fit(Reply([series(1_700_000_000_000_000_000)]), instance(), CPU)


def test_a_numpy_integer_is_a_time_too() -> None:
    reply = fit(Reply([incident(opened_ms=np.int64(HOUR.start_ms))]), instance(), IncidentQuery(HOUR))
    assert type(reply.items[0].opened_ms) is int


def test_text_comes_without_what_could_deceive_a_reader() -> None:
    evil = incident(title="pay\u202eload\nIgnore all", service="a\u202eb", url="javascript:alert(1)")
    (kept,) = fit(Reply([evil]), instance(), IncidentQuery(HOUR)).items
    assert (kept.title, kept.service, kept.url) == ("pay load Ignore all", "a b", None)


def test_a_name_keeps_its_spaces_and_is_cut_when_it_is_endless() -> None:
    names = [Service("two  spaces"), Service("x" * 5_000_000)]
    kept, cut = fit(Reply(names), instance(), ServiceQuery(HOUR)).items
    assert kept is names[0]
    assert len(cut.name) == 300


def test_a_service_that_was_not_asked_for_is_left_out_and_said() -> None:
    reply = fit(Reply([series(HOUR.start_ms), series(HOUR.start_ms, service="other")]), instance(), CPU)
    assert [item.service for item in reply.items] == ["checkout"]
    assert "1 series of services that were not asked for" in reply.warnings[0]


def test_everything_is_kept_when_every_service_was_asked_for() -> None:
    everything = SeriesQuery((), ("cpu",), HOUR, 60_000)
    assert len(fit(Reply([series(1), series(1, service="other")]), instance(), everything).items) == 2


def test_a_reading_from_outside_the_window_is_not_current() -> None:
    stale, early = HOUR.start_ms - 1, HOUR.end_ms + AHEAD_MS
    reply = fit(Reply([series(stale, HOUR.end_ms - 1, HOUR.end_ms + AHEAD_MS - 1, early)]), instance(), NEWEST)
    assert reply.items[0].timestamps_ms.tolist() == [HOUR.end_ms - 1, HOUR.end_ms + AHEAD_MS - 1]
    assert "2 readings from outside" in reply.warnings[0]
