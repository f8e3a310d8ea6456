"""How much speaks against a service: the strength of its metrics, less what the services it calls explain."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType

from telemetry_mcp.analysis.evidence import Evidence
from telemetry_mcp.analysis.signal import PROPAGATING, Kind

Symptom = tuple[str, Kind]
Edges = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the ranking (METHODS 3.2); what moves when they do: bench/causes.py.

    `kind`: of a metric by its kind. `harmless`: of a change for the better. `other_kind`: of suffering of another
    kind than the symptom's. `saturation`: deviations far beyond so many sigmas no longer differ. `second`: of the
    second best metric, the best has the rest. `explained`: the share of a caller's suffering that a callee
    explains. `unreachable`: of a service that the one with the symptom does not call. `onset`: what the first
    onset is worth. `change`: what a change right before the onset is worth; so little that it only settles ties.
    """

    kind: Mapping[Kind, float] = field(
        default_factory=lambda: MappingProxyType(
            {"availability": 1.2, "error": 1.2, "latency": 1.0, "traffic": 1.0, "resource": 1.1}
        )
    )
    harmless: float = 0.5
    other_kind: float = 0.8
    saturation: float = 50.0
    second: float = 0.5
    explained: float = 0.3
    unreachable: float = 0.5
    onset: float = 0.5
    change: float = 0.05


DEFAULT = Weights()
TELLING = 0.5
"""A metric with at least this share of the strength of its service's strongest tells when it began."""
PROPAGATION_MS = 300_000
"""A callee explains what begins up to so long after its own onset."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What happened to a metric, and how much that speaks against its service."""

    evidence: Evidence
    strength: float


@dataclass(frozen=True, slots=True)
class Case:
    """What there is against one service, strongest first. `strength` is that of its best two metrics."""

    service: str
    weighed: tuple[Weighed, ...]
    strength: float

    @property
    def onset_ms(self) -> int | None:
        """When the first metric that counts (at least half as strong as its strongest) began to get worse."""
        least = TELLING * self.weighed[0].strength
        telling = (one.evidence for one in self.weighed if one.strength >= least and not one.evidence.harmless)
        return min((one.onset_ms for one in telling if one.onset_ms is not None), default=None)

    @property
    def suffering(self) -> Weighed | None:
        """The strongest deviation of the kind that a callee can cause."""
        for one in self.weighed:
            its = one.evidence
            if its.kind in PROPAGATING and its.onset_ms is not None and not its.harmless:
                return one
        return None

    @property
    def overrun(self) -> bool:
        """Whether more is asked of the service than before: then its callers are no victims of it."""
        return any(
            its.kind == "traffic" and its.direction == "up" and its.onset_ms is not None
            for its in (one.evidence for one in self.weighed)
        )


def strength(evidence: Evidence, symptom: Symptom | None, weights: Weights) -> float:
    """The weighted logarithm of a deviation: `ln(1 + x)` with x = d / (1 + d / saturation)."""
    size = math.log1p(evidence.deviation / (1 + evidence.deviation / weights.saturation))
    size *= weights.kind[evidence.kind]
    if evidence.harmless:
        size *= weights.harmless
    if symptom and evidence.kind != symptom[1] and {evidence.kind, symptom[1]} <= PROPAGATING:
        size *= weights.other_kind
    return size


def cases(found: Iterable[Evidence], symptom: Symptom | None, weights: Weights) -> tuple[Case, ...]:
    """The evidence by service. Of one metric from several sources only the strongest counts."""
    services: dict[str, dict[str, Weighed]] = {}
    for one in found:
        weighed = Weighed(one, strength(one, symptom, weights))
        metrics = services.setdefault(one.service, {})
        if one.metric not in metrics or metrics[one.metric].strength < weighed.strength:
            metrics[one.metric] = weighed
    return tuple(_case(service, metrics.values(), weights) for service, metrics in services.items())


def _case(service: str, weighed: Iterable[Weighed], weights: Weights) -> Case:
    ordered = sorted(weighed, key=attrgetter("strength"), reverse=True)
    second = ordered[1].strength if len(ordered) > 1 else ordered[0].strength
    best = (1 - weights.second) * ordered[0].strength + weights.second * second
    return Case(service, tuple(ordered), best)


def edges_of(dependencies: Iterable[tuple[str, str]]) -> Edges:
    """Every caller with its callees."""
    callees: dict[str, set[str]] = {}
    for caller, callee in dependencies:
        if caller != callee:
            callees.setdefault(caller, set()).add(callee)
    return {caller: frozenset(its) for caller, its in callees.items()}


def reachable(start: str, edges: Edges) -> frozenset[str]:
    """`start`, and all that it calls, directly or not."""
    seen, waiting = {start}, [start]
    while waiting:
        fresh = edges.get(waiting.pop(), frozenset()) - seen
        seen |= fresh
        waiting += fresh
    return frozenset(seen)


def scores(known: Iterable[Case], edges: Edges, symptom: Symptom | None, weights: Weights) -> dict[str, float]:
    """The score of every service by its metrics and its place among the others."""
    by_name = {case.service: case for case in known}
    within = reachable(symptom[0], edges) if symptom and symptom[0] in edges else None
    first = sorted({case.onset_ms for case in by_name.values() if case.onset_ms is not None})
    found = {}
    for name, case in by_name.items():
        score = case.strength - weights.explained * _explained(case, by_name, edges)
        if within is not None and name not in within:
            score *= weights.unreachable
        if case.onset_ms is not None and len(first) > 1:
            score += weights.onset * (first[-1] - case.onset_ms) / (first[-1] - first[0])
        found[name] = score
    return found


def _explained(case: Case, by_name: Mapping[str, Case], edges: Edges) -> float:
    """How much of the suffering of a service a callee explains: as much as the callee suffers itself, if it began
    to before, not long before, and not because more was asked of it."""
    own = case.suffering
    if own is None:
        return 0.0
    explained = 0.0
    for callee in edges.get(case.service, frozenset()) & by_name.keys():
        its = by_name[callee].suffering
        if its is not None and not by_name[callee].overrun and _precedes(its.evidence, own.evidence):
            explained = max(explained, min(own.strength, its.strength))
    return explained


def _precedes(cause: Evidence, effect: Evidence) -> bool:
    if cause.onset_ms is None or effect.onset_ms is None:
        return False
    step = max(cause.step_ms, effect.step_ms)
    return -step <= effect.onset_ms - cause.onset_ms <= max(PROPAGATION_MS, step)
