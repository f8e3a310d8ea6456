"""What a fault does at the service where it begins, and how it spreads along the calls.

Slowness and errors climb from a service to its callers; traffic flows down from a caller to what it calls. With
every call they get weaker and come a little later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

from telemetry_mcp.demo.fault_plan import NEVER_MS, Effect
from telemetry_mcp.demo.topology import MEMBERS

Kind = Literal["deployment", "cpu", "memory", "latency", "error", "outage", "surge"]

Range = tuple[float, float]

_SECOND_MS = 1_000
_FALL_MS = 120_000


@dataclass(frozen=True, slots=True)
class Sign:
    """What a metric of the culprit may do: size as of an effect, seconds from the onset, seconds to rise."""

    metric: str
    size: Range
    delay_s: Range = (0, 0)
    rise_s: Range = (60, 150)


@dataclass(frozen=True, slots=True)
class Passing:
    """What is left of an effect one call further; what is smaller than `least` is not felt there."""

    share: Range
    least: float
    delay_s: Range


SIGNS: Mapping[Kind, tuple[tuple[Sign, ...], ...]] = {
    "deployment": (
        (
            Sign("error_rate", (8, 24)),
            Sign("latency", (0.8, 1.6), (20, 60)),
            Sign("cpu", (6, 12), (0, 30)),
        ),
        (
            Sign("cpu", (28, 40)),
            Sign("latency", (1.5, 3.5), (30, 90)),
            Sign("error_rate", (2, 7), (120, 240)),
        ),
    ),
    "cpu": ((Sign("cpu", (30, 48)), Sign("latency", (0.9, 2.2), (30, 120), (90, 180))),),
    "memory": (
        (Sign("memory", (32, 44), rise_s=(1080, 1620)), Sign("latency", (0.8, 1.8), (180, 330), (120, 240))),
    ),
    "latency": ((Sign("latency", (2.0, 4.5)),),),
    "error": ((Sign("error_rate", (6, 22)),),),
    "outage": (
        (
            Sign("error_rate", (55, 85), rise_s=(30, 90)),
            Sign("latency", (4, 8), (0, 30), (30, 90)),
            Sign("request_rate", (-0.7, -0.5), (60, 120)),
        ),
    ),
    "surge": (
        (
            Sign("request_rate", (0.9, 1.7), rise_s=(120, 240)),
            Sign("cpu", (22, 34), (15, 45), (120, 240)),
            Sign("latency", (0.6, 1.2), (60, 120), (120, 180)),
        ),
    ),
}
"""For each kind of fault the ways in which it may show."""

_APPS, _DATABASES, _CACHES = (
    tuple(name for name, member in MEMBERS.items() if member.kind == kind) for kind in ("app", "database", "cache")
)
CULPRITS: Mapping[Kind, tuple[str, ...]] = {
    "deployment": _APPS,
    "cpu": _APPS + _DATABASES,
    "memory": _APPS + _DATABASES + _CACHES,
    "latency": _APPS + _DATABASES + _CACHES,
    "error": _APPS,
    "outage": _DATABASES + _CACHES,
    "surge": ("api-gateway",),
}
"""Where a fault of each kind may begin; new traffic comes in at one door only."""

_UP: Mapping[str, Passing] = {
    "latency": Passing((0.25, 0.5), 0.15, (20, 75)),
    "error_rate": Passing((0.2, 0.45), 0.8, (20, 75)),
}
_DOWN: Mapping[str, Passing] = {
    "request_rate": Passing((0.75, 0.95), 0.1, (15, 45)),
    "cpu": Passing((0.45, 0.75), 3.0, (15, 60)),
    "latency": Passing((0.3, 0.6), 0.15, (30, 75)),
}


def effects(kind: Kind, culprit: str, onset_ms: int, end_ms: int | None, rng: Random) -> tuple[Effect, ...]:
    """All effects of a fault, those of the culprit first. `end_ms` None: they last."""
    until_ms = NEVER_MS if end_ms is None else end_ms
    found = [_begin(sign, culprit, onset_ms, until_ms, rng) for sign in rng.choice(SIGNS[kind])]
    table = _DOWN if kind == "surge" else _UP
    reached, level = {culprit}, found
    while level:
        struck = [effect for effect in level if effect.metric in table]
        level = _next(struck, reached, table, rng, down=kind == "surge")
        reached |= {effect.service for effect in level}
        found = found + level
    return tuple(found)


def callers(service: str) -> tuple[str, ...]:
    return tuple(name for name, member in MEMBERS.items() if service in member.calls)


def _begin(sign: Sign, culprit: str, onset_ms: int, until_ms: int, rng: Random) -> Effect:
    start_ms = onset_ms + _milliseconds(sign.delay_s, rng)
    return Effect(
        culprit,
        sign.metric,
        start_ms,
        until_ms,
        rng.uniform(*sign.size),
        _milliseconds(sign.rise_s, rng),
        _FALL_MS,
    )


def _next(
    struck: list[Effect], reached: set[str], table: Mapping[str, Passing], rng: Random, *, down: bool
) -> list[Effect]:
    """The effects one call further; of what comes by several ways to a metric, the strongest."""
    found: dict[tuple[str, str], Effect] = {}
    for effect in struck:
        for service in MEMBERS[effect.service].calls if down else callers(effect.service):
            passed = _passed(effect, service, table[effect.metric], rng)
            key = (service, effect.metric)
            if service in reached or abs(passed.size) < table[effect.metric].least:
                continue
            if key not in found or abs(found[key].size) < abs(passed.size):
                found[key] = passed
    return list(found.values())


def _passed(effect: Effect, service: str, passing: Passing, rng: Random) -> Effect:
    return Effect(
        service,
        effect.metric,
        effect.start_ms + _milliseconds(passing.delay_s, rng),
        effect.end_ms,
        effect.size * rng.uniform(*passing.share),
        effect.rise_ms,
        effect.fall_ms,
    )


def _milliseconds(seconds: Range, rng: Random) -> int:
    return round(rng.uniform(*seconds)) * _SECOND_MS
