"""Our own quota towards a source: shared by all callers, spent by upstream calls only, in part for incidents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from pydantic import ValidationError

from telemetry_mcp.allowance import Allowance
from telemetry_mcp.breaker import FAILURES, OPEN_S
from telemetry_mcp.config import read
from telemetry_mcp.errors import ConfigError, QuotaError, SourceTimeoutError, UpstreamError
from telemetry_mcp.fanout import Deadline, Fanout
from telemetry_mcp.guard import Guard
from telemetry_mcp.model import Outcome, Service
from telemetry_mcp.question import ServiceQuery, Window
from telemetry_mcp.quota import LANE
from telemetry_mcp.rate import unknown
from telemetry_mcp.registry import Instance, Registry, load
from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import SourceSettings
from tests.core.counting import Clock, Clocked

if TYPE_CHECKING:
    from pathlib import Path

    from tests.core.conftest import Scripted

MakeAllowance = Callable[..., Allowance]


@pytest.fixture
def clock() -> Clock:
    return Clock(20_000_000 * 60.0)


@pytest.fixture
def allowance(clock: Clock) -> MakeAllowance:
    def make(rate: str = "10/minute", share: float = 0.2) -> Allowance:
        return Allowance("up", rate, share, Clocked(clock), clock=clock)

    return make


QUESTION = ServiceQuery(Window(0, 60_000))


@asynccontextmanager
async def over(source: Scripted, allowance: Allowance, clock: Clock | None = None) -> AsyncIterator[Fanout]:
    """A fan-out over one source called up, with this allowance."""
    guard = Guard(timeout_s=5, max_concurrency=16, allowance=allowance, **({"clock": clock} if clock else {}))
    registry = Registry((Instance("up", "scripted", source, guard, Redactor(source.settings)),))
    async with Fanout(registry) as fanout:
        yield fanout


@contextmanager
def in_lane() -> Iterator[None]:
    token = LANE.set(True)
    try:
        yield
    finally:
        LANE.reset(token)


async def ask(fanout: Fanout, *, fresh: bool = True) -> Outcome[Service]:
    (outcome,) = await fanout.ask(QUESTION, Deadline(10), fresh=fresh)
    return outcome


async def let_through(allowance: Allowance, tries: int, *, lane: bool) -> int:
    return sum([not await allowance.take(lane) for _ in range(tries)])


# ---- the two parts


@pytest.mark.parametrize(
    ("share", "others"), [(0.0, 10), (0.2, 8), (0.25, 8), (0.5, 5), (0.9, 1)], ids=lambda value: str(value)
)
async def test_the_part_for_incidents_is_left_when_the_other_is_used_up(
    allowance: MakeAllowance, share: float, others: int
) -> None:
    made = allowance(share=share)
    assert await let_through(made, 30, lane=False) == others
    assert await let_through(made, 30, lane=True) == 10 - others


async def test_the_incident_lane_may_use_all_of_it(allowance: MakeAllowance) -> None:
    made = allowance()
    assert await let_through(made, 30, lane=True) == 10
    assert await let_through(made, 30, lane=False) == 0


async def test_even_a_quota_of_one_lets_one_through(allowance: MakeAllowance) -> None:
    assert await let_through(allowance("1/minute", 0.9), 5, lane=False) == 1


@pytest.mark.parametrize("share", [-0.1, 0.95, 1])
def test_a_share_that_leaves_the_others_nothing_is_refused(share: float) -> None:
    with pytest.raises(ValidationError):
        SourceSettings(plugin="x", rate="10/minute", incident_share=share)


async def test_instances_over_one_storage_share_it(clock: Clock) -> None:
    storage = Clocked(clock)
    one, other = Allowance("up", "10/minute"), Allowance("up", "10/minute")
    one.share(storage, unknown)
    other.share(storage, unknown)
    assert await let_through(one, 5, lane=False) == 5
    assert await let_through(other, 30, lane=False) == 3
    assert await let_through(Allowance("down", "10/minute", storage=storage), 30, lane=False) == 8


# ---- in the ledger


async def test_who_asks_too_much_is_told_that_it_is_our_quota_and_an_incident_gets_through(
    scripted: type[Scripted], allowance: MakeAllowance
) -> None:
    source = scripted.finding()
    async with over(source, allowance()) as fanout:
        for _ in range(8):
            assert (await ask(fanout)).status == "ok"
        refused = await ask(fanout)
        assert (refused.status, source.calls) == ("failed", 8)
        assert refused.failure is not None
        assert refused.failure.kind == "rate_limited"
        assert refused.failure.message.startswith("not asked: our own quota towards it, 10 questions a minute")
        assert "(less 2 that are kept for incidents), [sources.up] rate, is used up" in refused.failure.message
        assert refused.failure.retry_after_s == pytest.approx(60, abs=0.01)
        assert "raise `rate`" in refused.failure.hint
        with in_lane():
            assert [(await ask(fanout)).status for _ in range(9, 12)] == ["ok", "ok", "failed"]
        assert source.calls == 10


async def test_our_quota_holds_nobody_else_back(scripted: type[Scripted], allowance: MakeAllowance) -> None:
    source = scripted.finding()
    async with over(source, allowance("1/minute")) as fanout:
        guard = fanout.registry["up"].guard
        for _ in range(2 * FAILURES):
            await ask(fanout)
        assert (guard.breaker.state, guard.breaker.failures, guard.pause.wait_s) == ("closed", 0, 0)
        assert not guard.troubles


async def test_what_is_kept_costs_nothing(scripted: type[Scripted], allowance: MakeAllowance) -> None:
    source = scripted.finding()
    async with over(source, allowance("2/minute", 0)) as fanout:
        outcomes = [await ask(fanout, fresh=False) for _ in range(10)]
        assert {outcome.status for outcome in outcomes} == {"ok"}
        assert source.calls == 1
        assert [(await ask(fanout)).status for _ in range(2)] == ["ok", "failed"]


async def test_three_callers_of_one_question_cost_one(scripted: type[Scripted], allowance: MakeAllowance) -> None:
    started, cancelled, release = anyio.Event(), anyio.Event(), anyio.Event()
    source, made = scripted.telling(started, cancelled, release), allowance("2/minute", 0)
    statuses = []

    async def call() -> None:
        statuses.append((await ask(fanout)).status)

    async with over(source, made) as fanout:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call)
            await started.wait()
            await anyio.wait_all_tasks_blocked()
            release.set()
        assert (statuses, source.calls) == (["ok"] * 3, 1)
        assert await let_through(made, 5, lane=True) == 1


async def test_a_call_of_the_lane_that_joins_another_takes_it_along(
    scripted: type[Scripted], allowance: MakeAllowance
) -> None:
    source, made = scripted.finding(), allowance()
    await let_through(made, 30, lane=False)
    statuses: dict[bool, str] = {}

    async def call(lane: bool) -> None:
        LANE.set(lane)
        statuses[lane] = (await ask(fanout)).status

    async with over(source, made) as fanout, anyio.create_task_group() as tasks:
        tasks.start_soon(call, False)
        tasks.start_soon(call, True)
    assert (statuses, source.calls) == ({False: "ok", True: "ok"}, 1)


async def test_what_is_asked_in_tasks_of_the_call_goes_by_its_lane_too(
    scripted: type[Scripted], allowance: MakeAllowance
) -> None:
    made = allowance()
    await let_through(made, 30, lane=False)
    async with over(scripted.finding(), made) as fanout:
        with in_lane():
            answers = await fanout.ask_all([QUESTION], Deadline(10), fresh=True)
    assert [outcome.status for (outcome,) in answers] == ["ok"]


# ---- in the guard


async def test_a_second_try_is_counted_and_not_made_where_it_would_be_one_too_many(
    scripted: type[Scripted], allowance: MakeAllowance
) -> None:
    for rate, calls in (("2/minute", 2), ("1/minute", 1)):
        source = scripted.raising(UpstreamError("reset"))
        guard = Guard(timeout_s=5, max_concurrency=1, allowance=allowance(rate, 0))
        with pytest.raises(UpstreamError):
            await guard.ask(source, QUESTION)
        assert (source.calls, guard.breaker.failures) == (calls, 1)


async def test_a_probe_that_our_quota_stops_leaves_the_next_one_free(
    scripted: type[Scripted], allowance: MakeAllowance, clock: Clock
) -> None:
    made = allowance("10/minute", 0)
    guard = Guard(timeout_s=5, max_concurrency=1, allowance=made, clock=clock)
    down = scripted.raising(SourceTimeoutError("HTTP 408"))
    for _ in range(FAILURES):
        with pytest.raises(SourceTimeoutError):
            await guard.ask(down, QUESTION)
    clock.now += OPEN_S
    await let_through(made, 30, lane=True)
    with pytest.raises(QuotaError):
        await guard.ask(down, QUESTION)
    assert guard.breaker.state == "half_open"
    clock.now += 120
    assert (await guard.ask(scripted.finding(), QUESTION)).items


async def test_what_the_breaker_stops_costs_nothing(
    scripted: type[Scripted], allowance: MakeAllowance, clock: Clock
) -> None:
    made = allowance("10/minute", 0)
    async with over(scripted.raising(SourceTimeoutError("HTTP 408")), made, clock) as fanout:
        for _ in range(3 * FAILURES):
            await ask(fanout)
    assert await let_through(made, 30, lane=True) == 10 - FAILURES


# ---- how it stands


async def test_it_is_told_how_it_stands(allowance: MakeAllowance, clock: Clock) -> None:
    made = allowance()
    assert made.told() == "ours: 10 questions a minute, 2 of them for incidents"
    await let_through(made, 9, lane=False)
    assert made.told().endswith("2 of them for incidents; used up but for incidents, room again in 61 s")
    await let_through(made, 3, lane=True)
    assert made.told().endswith("2 of them for incidents; used up, room again in 61 s")
    clock.now += 120
    assert made.told() == "ours: 10 questions a minute, 2 of them for incidents"
    assert allowance(share=0).told() == "ours: 10 questions a minute"


# ---- in plugins.toml

PLUGIN = """\
from telemetry_mcp import Reply, Service, Source, hookimpl

class Acme(Source):
    async def list_services(self, query):
        return Reply([Service("checkout")])

@hookimpl
def telemetry_sources():
    return [Acme]
"""


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], Registry]:
    """The sources of a plugins.toml, of which `one` and `other` are there to be written to."""

    def make(toml: str) -> Registry:
        (tmp_path / "acme.py").write_text(PLUGIN)
        (tmp_path / "plugins.toml").write_text(toml)
        return load(read(tmp_path / "plugins.toml", {}))

    return make


ONE = '[sources.one]\nplugin = "./acme.py"\n'
OTHER = '[sources.other]\nplugin = "./acme.py"\n'


async def test_a_source_has_the_quota_that_its_table_says_and_others_have_none(
    configured: Callable[[str], Registry], clock: Clock
) -> None:
    one, other = configured(ONE + 'rate = "10/day"\nincident_share = 0.5\n' + OTHER).instances
    assert other.guard.allowance is None
    assert one.guard.allowance is not None
    assert one.guard.allowance.told() == "ours: 10 questions a day, 5 of them for incidents"


async def test_two_instances_of_a_configuration_share_the_quota_of_each_source(
    configured: Callable[[str], Registry], clock: Clock
) -> None:
    toml, storage = ONE + 'rate = "10/minute"\n' + OTHER + 'rate = "10/minute"\n', Clocked(clock)
    registries = [configured(toml), configured(toml)]
    for registry in registries:
        registry.share(storage, unknown)
    for name in ("one", "other"):
        allowances = [registry[name].guard.allowance for registry in registries]
        assert sum([await let_through(each, 30, lane=False) for each in allowances if each]) == 8


@pytest.mark.parametrize(
    ("toml", "where"),
    [
        (ONE + 'rate = "many"\n', "[sources.one] rate: found 'many'"),
        ('[limits]\nuser = "100 calls"\n', "[limits] user: found '100 calls'"),
        ('[limits]\nservice_account = "0/minute"\n', "[limits] service_account: found '0/minute'"),
        ('[limits]\nincident = "1/minute; 2/hour"\n', "[limits] incident: found '1/minute; 2/hour'"),
    ],
)
def test_what_is_no_rate_is_found_when_the_configuration_is_read(
    configured: Callable[[str], Registry], toml: str, where: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(toml)
    assert f"{where}. not a rate; write how many in how long, such as" in str(caught.value)
