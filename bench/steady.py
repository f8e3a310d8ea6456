"""A source whose every reading is there at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from telemetry_mcp import Reply, Series, SeriesQuery, Service, ServiceQuery, Source, hookimpl

METRICS = (
    "cpu",
    "memory",
    "error_rate",
    "request_rate",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "availability",
)


class Steady(Source):
    def metrics(self) -> Sequence[str]:
        return METRICS

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        return Reply([Service("payment-processor", team="payments")])

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        at = np.array([query.window.end_ms - 1000])
        return Reply([Series("payment-processor", metric, at, np.array([42.0])) for metric in query.metrics])


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [Steady]
