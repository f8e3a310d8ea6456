"""Incidents to investigate: a fault with a known culprit, a late page, noise and red herrings; or a false alarm.

Each is a pure function of its seed and of the moment that it is investigated at. Seeds in a row go through all
the kinds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from telemetry_mcp.demo import noise
from telemetry_mcp.demo.distraction import alerts, case, deployment, innocents
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.estate import Estate, Incident
from telemetry_mcp.demo.fault import Fault as Breakdown
from telemetry_mcp.demo.fault_plan import DAY_MS, MINUTE_MS, Alarm, Change, Fault, Plan
from telemetry_mcp.demo.paging import Bell, bells, false
from telemetry_mcp.demo.spread import CULPRITS, Kind, effects
from telemetry_mcp.demo.topology import MEMBERS

KINDS: tuple[Kind, ...] = get_args(Kind)
DOWN = ("prometheus", "datadog", "newrelic")
"""The sources of which one may be down. PagerDuty is not one of them: it brings the page."""

_FIRST_DAY, _DAYS = 20_500, 28
# Minutes from the onset to the page: what grows slowly rings late.
_DELAY: Mapping[str, tuple[int, int]] = {"memory": (7, 12), "surge": (4, 12)}
_USUAL_DELAY = (2, 12)
_DELAY_OF_FALSE = (2, 5)
_PASSES_BY_ITSELF = {"cpu", "latency", "error", "surge"}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A page and what is behind it. Times are epoch ms; `now_ms` is when somebody begins to investigate.

    `culprit`, `onset_ms` and `fault` are None for a false alarm; `cause` is the deployment that did it, for the
    kind "deployment" only; `innocent` are the changes that did no harm; `down` is the source that does not answer.
    """

    seed: int
    kind: Kind | Literal["quiet"]
    estate: Estate
    page: Incident
    now_ms: int
    culprit: str | None = None
    onset_ms: int | None = None
    fault: Fault | None = None
    cause: Change | None = None
    innocent: tuple[Change, ...] = ()
    down: str | None = None

    @property
    def page_ms(self) -> int:
        """When the page came."""
        return self.page.created_ms


def scenario(seed: int) -> Scenario:
    """The incident of `seed`, on a day and at an hour of its own; in a quarter of them a source is down."""
    return incident_today(_moment("scenario", seed), seed)


def incident_today(now_ms: int, seed: int) -> Scenario:
    """The incident of `seed` when `now_ms` is the time at which somebody begins to investigate it."""
    rng, kind = _rng("scenario", seed), KINDS[seed % len(KINDS)]
    culprit, page_ms = rng.choice(CULPRITS[kind]), _page_ms(now_ms, rng)
    onset_ms = page_ms - rng.randint(*_DELAY.get(kind, _USUAL_DELAY)) * MINUTE_MS
    silent = _silent(kind, culprit, onset_ms, page_ms, rng)
    rung = bells(_estate(now_ms, seed, Plan((silent,))), onset_ms, page_ms)
    fault = replace(silent, alarms=_alarms(rung, culprit, onset_ms, page_ms, rng))
    symptom = fault.alarms[0].service
    noises = alerts(page_ms, _others(fault, symptom), rng)
    cause = deployment(culprit, onset_ms - rng.randint(60, 600) * 1000, rng) if kind == "deployment" else None
    herrings = innocents(onset_ms, page_ms, symptom, culprit, rng)
    estate = _estate(now_ms, seed, Plan((fault, *noises), (*herrings, *([cause] if cause else ()))))
    page = _page(estate, fault)
    return Scenario(seed, kind, estate, page, now_ms, culprit, onset_ms, fault, cause, herrings, _down(seed))


def quiet(seed: int) -> Scenario:
    """A false alarm: a page, noise and harmless changes, while no value is out of its course."""
    now_ms, rng = _moment("quiet", seed), _rng("quiet", seed)
    page_ms, symptom = _page_ms(now_ms, rng), rng.choice(list(MEMBERS))
    start_ms = page_ms - rng.randint(*_DELAY_OF_FALSE) * MINUTE_MS
    bell = false(_estate(now_ms, seed, Plan()), symptom, rng.choice(("error_rate", "latency_p95", "cpu")), page_ms)
    alarm = _alarm(bell, start_ms, page_ms, rng)
    end_ms = page_ms + 2 * MINUTE_MS if rng.random() < 0.5 else None
    nothing = Fault(case(symptom, start_ms), symptom, bell.title, start_ms, end_ms, None, (), (alarm,))
    noises = alerts(page_ms, [name for name in MEMBERS if name != symptom], rng)
    herrings = innocents(start_ms, page_ms, symptom, None, rng)
    estate = _estate(now_ms, seed, Plan((nothing, *noises), herrings))
    return Scenario(seed, "quiet", estate, _page(estate, nothing), now_ms, innocent=herrings)


def opened(played: Scenario, clock: Callable[[], int] | None = None) -> Emulators:
    """The vendors of a scenario, for a `with` block; what is down answers 503.

    `clock` gives epoch ms; without one it is always the scenario's now.
    """
    world = Emulators(played.estate, clock or (lambda: played.now_ms))
    if played.down:
        world.faults[played.down].set("/", Breakdown("status", code=503))
    return world


def _silent(kind: Kind, culprit: str, onset_ms: int, page_ms: int, rng: Random) -> Fault:
    """The fault before anybody is paged. Most go on; some pass by themselves after the page."""
    passes = kind in _PASSES_BY_ITSELF and rng.random() < 0.25
    end_ms = page_ms + rng.randint(5, 20) * MINUTE_MS if passes else None
    spread = effects(kind, culprit, onset_ms, end_ms, rng)
    return Fault(case(culprit, onset_ms), culprit, f"{culprit}: {kind}", onset_ms, end_ms, None, spread, ())


def _alarms(rung: Sequence[Bell], culprit: str, onset_ms: int, page_ms: int, rng: Random) -> tuple[Alarm, ...]:
    """The page, more often of a service that suffers than of the culprit; at times another service's follows."""
    suffering = [bell for bell in rung if bell.service != culprit]
    own = [bell for bell in rung if bell.service == culprit]
    first = rng.choice(suffering if suffering and (not own or rng.random() < 0.7) else own)
    alarms = [_alarm(first, onset_ms, page_ms, rng)]
    others = [bell for bell in rung if bell.service != first.service]
    if others and rng.random() < 0.4:
        later_ms = page_ms + rng.randint(1, 3) * MINUTE_MS
        alarms.append(_alarm(rng.choice(others), onset_ms, later_ms, rng))
    return tuple(alarms)


def _alarm(bell: Bell, start_ms: int, at_ms: int, rng: Random) -> Alarm:
    delay_min = (at_ms - start_ms) // MINUTE_MS
    return Alarm(bell.service, bell.title, delay_min, rng.randint(1, 8), bell.priority, "high")


def _others(fault: Fault, symptom: str) -> list[str]:
    """The services that feel nothing of the fault; when all do, those that are neither culprit nor symptom."""
    struck = {symptom, *(effect.service for effect in fault.effects)}
    unstruck = [name for name in MEMBERS if name not in struck]
    return unstruck or [name for name in MEMBERS if name not in (symptom, fault.service)]


def _page(estate: Estate, fault: Fault) -> Incident:
    """What the first alarm of `fault` has opened."""
    return next(one for one in estate.incidents(fault.start_ms, estate.now_ms) if one.fault_id == fault.id)


def _page_ms(now_ms: int, rng: Random) -> int:
    """A whole second, 3 to 15 minutes before now."""
    return (now_ms // 1000 - rng.randint(180, 900)) * 1000


def _estate(now_ms: int, seed: int, plan: Plan) -> Estate:
    return Estate(now_ms // DAY_MS * DAY_MS, now_ms=now_ms, seed=seed, plan=plan)


def _moment(what: str, seed: int) -> int:
    second = noise.salt(what, "moment", seed) % (DAY_MS // 1000)
    return (_FIRST_DAY + seed % _DAYS) * DAY_MS + second * 1000


def _down(seed: int) -> str | None:
    return DOWN[seed // 4 % len(DOWN)] if seed % 4 == 1 else None


def _rng(what: str, seed: int) -> Random:
    return Random(noise.salt(what, seed))
