"""What could not be judged: it is said of each service, and is no part of "nothing unusual"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.registry import Registry
from telemetry_mcp.server.finding import Looked
from telemetry_mcp.server.scan import Scan
from telemetry_mcp.text import clean

ANY = "any service"


@dataclass(frozen=True, slots=True)
class Unjudged:
    """One series of which nothing can be said."""

    service: str
    metric: str
    reason: str


@dataclass(frozen=True, slots=True)
class Short:
    """A source that did not give all it has, and those of the expected metrics that it offers."""

    source: str
    metrics: tuple[str, ...]
    reason: str


def expected(scan: Scan, registry: Registry) -> tuple[str, ...]:
    """The metrics whose absence has to be told: the one that was asked, or of all those that a source lists.

    A source that takes any metric cannot be expected to have each.
    """
    if len(scan.metrics) == 1:
        return scan.metrics
    listing = [instance for instance in registry.instances if instance.offered is not None]
    return tuple(metric for metric in scan.metrics if any(instance.offers(metric) for instance in listing))


def shorts(outcomes: Iterable[Outcome[Series]], registry: Registry, metrics: Sequence[str]) -> Iterator[Short]:
    instances = {instance.name: instance for instance in registry.instances}
    for outcome in outcomes:
        if outcome.status not in ("failed", "partial"):
            continue
        instance = instances.get(outcome.source)
        offered = tuple(metric for metric in metrics if instance is not None and instance.offers(metric))
        if outcome.failure is not None:
            reason = f"{outcome.source} failed: {outcome.failure.message}"
        else:
            reason = f"{outcome.source} gave a part only: {outcome.reply.partial}"
        yield Short(outcome.source, offered, clean(reason))


def unjudged(
    scan: Scan,
    seen: Looked,
    short: Iterable[Short],
    metrics: Sequence[str],
    known: Iterable[str],
) -> list[Unjudged]:
    """The series that nothing can be said of, and why.

    Those of a source that fell short are named as far as they can be: each of its metrics for the asked service,
    or for every service that is `known`, unless another source answered. `metrics` are the expected ones.
    """
    found = [Unjudged(f.service, f.metric, f.blind) for f in seen.findings if f.blind]
    named = {(f.service, f.metric) for f in seen.findings}
    services = scan.services or tuple(sorted({f.service for f in seen.findings} | set(known))) or (ANY,)
    for source in short:
        lacking = [(s, m) for m in source.metrics for s in services if (s, m) not in named]
        found += [Unjudged(service, metric, source.reason) for service, metric in lacking]
        named.update(lacking)
    answered = {metric for _, metric in named}
    lacking = [(s, m) for s in scan.services for m in metrics if (s, m) not in named]
    lacking = lacking or [(ANY, metric) for metric in metrics if metric not in answered]
    return found + [Unjudged(service, metric, seen.late or "no data") for service, metric in lacking]


def sentences(series: Iterable[Unjudged]) -> list[str]:
    """One for each service and reason: "cpu, memory of checkout: no data"."""
    metrics: dict[tuple[str, str], list[str]] = {}
    for one in series:
        metrics.setdefault((one.service, one.reason), []).append(one.metric)
    return [f"{', '.join(names)} of {service}: {reason}" for (service, reason), names in metrics.items()]
