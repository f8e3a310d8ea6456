"""Datadog's presets: metrics of the catalog, in units that it understands, right on the emulator by both APIs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from telemetry_mcp import MetricQuery, SeriesQuery, Window
from telemetry_mcp.catalog import BUILT_IN
from telemetry_mcp.demo import datadog as emulated
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.unit import factor
from telemetry_mcp_datadog import Datadog
from telemetry_mcp_datadog.query import metrics_in, render, usable

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectDatadog

NOW_MS = (20_500 * 86_400 + 15 * 3600) * 1000
WINDOW = Window(NOW_MS - 3_600_000, NOW_MS)
MEASURED = {
    "apm": ("request_rate", "error_rate", "availability", "latency_p50", "latency_p95", "latency_p99"),
    "system": ("cpu", "memory"),
    "container": ("cpu", "memory"),
}
"""What the emulator has."""
EVERY = [(preset, metric) for preset, metrics in Datadog.presets.items() for metric in metrics]


@pytest.fixture(scope="module")
def world() -> Iterator[Emulators]:
    with Emulators(Estate.today(NOW_MS), clock=lambda: NOW_MS) as running:
        yield running


@pytest.mark.parametrize(("preset", "metric"), EVERY)
def test_a_preset_asks_only_for_services_that_were_named(preset: str, metric: str) -> None:
    query = MetricQuery.model_validate(Datadog.presets[preset][metric])
    text = render(query, usable(("a",)), SeriesQuery(("a",), (metric,), WINDOW, 60_000), "kube_app")
    assert "$" not in text
    assert text.count("{kube_app:a} by {kube_app}") == len(metrics_in(text)) > 0
    assert not query.unit or factor(query.unit, BUILT_IN[metric].unit) is not None


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("preset", MEASURED)
async def test_a_presets_values_are_those_of_the_estate(
    world: Emulators, connect_datadog: ConnectDatadog, preset: str, api: str
) -> None:
    keys: dict[str, Any] = {"api_key": emulated.API_KEY, "app_key": emulated.APP_KEY}
    one = connect_datadog(world.urls["datadog"], api=api, metrics=Datadog.presets[preset], **keys)
    names = ("api-gateway", "payment-processor")
    reply = await one.fetch_series(SeriesQuery(names, MEASURED[preset], WINDOW, 60_000))
    assert (len(reply.items), reply.partial, reply.warnings) == (2 * len(MEASURED[preset]), None, [])
    for series in reply.items:
        true = world.estate.average(series.service, series.metric, series.timestamps_ms, 60_000)
        ours = factor(series.unit, BUILT_IN[series.metric].unit)
        assert ours is not None
        np.testing.assert_allclose(series.values * ours, true, rtol=0.05)
