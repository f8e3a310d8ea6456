"""How things stand, as metrics that are read at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, get_args

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from telemetry_mcp.breaker import State
from telemetry_mcp.cache import MemoryCache
from telemetry_mcp.engine import Engine
from telemetry_mcp.registry import Instance
from telemetry_mcp.server.standing import standing
from telemetry_mcp.shared.cache import SharedCache


class SinkStanding(Protocol):
    """How one audit sink stands: `waiting` records it has not got yet, the others count since the start."""

    @property
    def waiting(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...
    @property
    def delivered(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def failures(self) -> int: ...


class AuditStanding(Protocol):
    """How the audit stands. `fault` is why records cannot be spooled now; `lost` ones nobody will have."""

    @property
    def fault(self) -> str | None: ...
    @property
    def recorded(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def spool_bytes(self) -> int: ...
    @property
    def sinks(self) -> Mapping[str, SinkStanding]: ...


class Gauges(Collector):
    """The sources, the cache and the audit of a running engine."""

    def __init__(self, engine: Engine, audit: Callable[[Engine], AuditStanding | None]) -> None:
        self.engine = engine
        self.audit = audit

    def describe(self) -> Sequence[Metric]:
        # Nothing: else it would be collected once before anybody asks.
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from self.of_sources()
        yield from of_guards(self.engine.registry.instances)
        yield from of_quotas(self.engine.registry.instances)
        yield from self.of_cache()
        standing = self.audit(self.engine)
        if standing is not None:
            yield from of_audit(standing)
            yield from of_sinks(standing.sinks)

    def of_sources(self) -> Iterator[Metric]:
        ready = gauge("source_ready", "Whether a configured source stands ready, as list_sources says", "source")
        for instance in self.engine.registry.instances:
            ready.add_metric([instance.name], float(standing(instance)[0] == "ready"))
        for absent in self.engine.registry.absent:
            if absent.broken:
                ready.add_metric([absent.name], 0)
        yield ready

    def of_cache(self) -> Iterator[Metric]:
        cache = self.engine.fanout.cache
        near = cache.near if isinstance(cache, SharedCache) else cache
        if isinstance(near, MemoryCache):
            yield single("cache_bytes", "What kept answers take in this process, roughly", near.entries.currsize)
            yield single("cache_limit_bytes", "What kept answers may take in this process", near.entries.maxsize)
        flights = gauge("source_flights", "Upstream calls under way or waiting for their turn", "source")
        flying = [flight.source for flight in list(self.engine.fanout.flights.values())]
        for instance in self.engine.registry.instances:
            flights.add_metric([instance.name], flying.count(instance.name))
        yield flights


def gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"telemetry_mcp_{name}", what, labels=labels)


def counter(name: str, what: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"telemetry_mcp_{name}", what, labels=labels)


def single(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"telemetry_mcp_{name}", what, value=value)


def of_guards(instances: Sequence[Instance]) -> Iterator[Metric]:
    state = gauge("source_breaker_state", "1 for the state in which the breaker is", "source", "state")
    failures = gauge("source_failures_in_a_row", "What the breaker counts", "source")
    pause = gauge("source_backoff_seconds", "For how long it is left alone after a rate limit", "source")
    busy = gauge("source_concurrency", "Questions that it is being asked at this moment", "source")
    limit = gauge("source_concurrency_limit", "How many it may be asked at once", "source")
    waiting = gauge("source_waiting", "Questions that wait for their turn", "source")
    abandoned = gauge("source_abandoned_threads", "Threads that hang though nobody waits for them", "source")
    for instance in instances:
        guard, labels = instance.guard, [instance.name]
        for each in get_args(State):
            state.add_metric([*labels, each], float(guard.breaker.state == each))
        failures.add_metric(labels, guard.breaker.failures)
        pause.add_metric(labels, guard.pause.wait_s)
        limit.add_metric(labels, guard.max_concurrency)
        busy.add_metric(labels, guard.limiter.borrowed_tokens if guard.limiter else 0)
        waiting.add_metric(labels, guard.limiter.statistics().tasks_waiting if guard.limiter else 0)
        abandoned.add_metric(labels, instance.source.context.threads.abandoned)
    yield from (state, failures, pause, busy, limit, waiting, abandoned)


def of_quotas(instances: Sequence[Instance]) -> Iterator[Metric]:
    """Of each source the limit that will be used up first: what the backend calls its limits is no label."""
    left = gauge("source_quota_remaining", "What the backend last said is left of its scarcest limit", "source")
    most = gauge("source_quota_limit", "How large that limit is", "source")
    for instance in instances:
        limits = instance.source.context.quota.left()
        if limits:
            left.add_metric([instance.name], limits[0].remaining)
        if limits and limits[0].limit is not None:
            most.add_metric([instance.name], limits[0].limit)
    yield from (left, most)


def of_audit(standing: AuditStanding) -> Iterator[Metric]:
    for name, what, count in (
        ("audit_recorded", "Records of what was asked", standing.recorded),
        ("audit_lost", "Records that could not be spooled, and are gone", standing.lost),
    ):
        made = counter(name, what)
        made.add_metric([], count)
        yield made
    yield single("audit_fault", "Whether records cannot be spooled now", float(standing.fault is not None))
    yield single("audit_pending_records", "Records that wait in memory to be spooled", standing.pending)
    yield single("audit_spool_bytes", "What the spool takes on disk", standing.spool_bytes)


def of_sinks(sinks: Mapping[str, SinkStanding]) -> Iterator[Metric]:
    waiting = gauge("audit_waiting_records", "Records that a sink has not got yet", "sink")
    waiting_bytes = gauge("audit_waiting_bytes", "Their size", "sink")
    delivered = counter("audit_delivered", "Records that a sink has got", "sink")
    dropped = counter("audit_dropped", "Records that a sink will never get: the spool was full", "sink")
    failures = counter("audit_failures", "Batches that a sink did not take", "sink")
    for name, sink in sinks.items():
        waiting.add_metric([name], sink.waiting)
        waiting_bytes.add_metric([name], sink.waiting_bytes)
        delivered.add_metric([name], sink.delivered)
        dropped.add_metric([name], sink.dropped)
        failures.add_metric([name], sink.failures)
    yield from (waiting, waiting_bytes, delivered, dropped, failures)
