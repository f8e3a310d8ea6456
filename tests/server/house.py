"""In-house sources of a few lines, written as a team would write them into files beside plugins.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from telemetry_mcp.config import Config, read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HANGS: Final = object()
"""Instead of items: the question is never answered."""
FAILS: Final = object()
"""Instead of items: the question fails, as that of a backend that is down."""
METRICS = ("cpu", "latency_p95", "error_rate")

NUMBERS = """\
from zlib import crc32
import numpy as np
from telemetry_mcp import Reply, Series, SeriesQuery, Service, Source, hookimpl

SERVICES = {services!r}
STEPS = {steps!r}
UNITS = {{"cpu": "percent", "latency_p95": "ms", "error_rate": "percent"}}

class Numbers(Source):
    asked: list = []

    async def list_services(self, query):
        return Reply([Service(name) for name in SERVICES])

    async def fetch_series(self, query: SeriesQuery):
        self.asked.append(query)
        at = np.arange(query.window.start_ms, query.window.end_ms, query.step_ms)
        return Reply([self.one(name, metric, at) for name in query.services or SERVICES if name in SERVICES
                      for metric in query.metrics])

    def one(self, name, metric, at):
        values = np.random.default_rng(crc32(f"{{name}} {{metric}}".encode())).normal(20, 0.2, len(at))
        values[at >= STEPS.get(name, 10**18)] *= 3
        return Series(name, metric, at, values, UNITS.get(metric, "percent"))

@hookimpl
def telemetry_sources():
    return [Numbers]
"""

TELLER = """\
from math import inf, nan
import anyio
from telemetry_mcp import Reply, Source, UpstreamError, hookimpl
from telemetry_mcp.model import Change, Dependency, Entry, Incident, OnCall, Service

class Teller(Source):
{methods}

@hookimpl
def telemetry_sources():
    return [Teller]
"""


def numbers(services: Sequence[str], steps: Mapping[str, int] | None = None) -> str:
    """Every metric of the services: noise around 20, and thrice that from a moment on for those in `steps`."""
    return NUMBERS.format(services=tuple(services), steps=dict(steps or {}))


def teller(**told: Any) -> str:
    """A source that tells, for each method of Source, the items given; or `HANGS`, or `FAILS`."""
    methods = (f"    async def {name}(self, query):\n        {ending(items)}" for name, items in told.items())
    return TELLER.format(methods="\n".join(methods))


def ending(items: Any) -> str:
    if items is HANGS:
        return "await anyio.sleep_forever()"
    if items is FAILS:
        return "raise UpstreamError('HTTP 503')"
    return f"return Reply({items!r})"


def written(folder: Path, more: str = "", metrics: Sequence[str] = METRICS, **plugins: str) -> Config:
    """The configuration of these sources; one called `numbers` has the metrics."""
    toml = ""
    for name, text in plugins.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        toml += f'[sources.{name}]\nplugin = "./{name}.py"\n'
        if "fetch_series" in text:
            toml += f"[sources.{name}.metrics]\n" + "".join(f'{metric} = "{metric}"\n' for metric in metrics)
    (folder / "plugins.toml").write_text(toml + more, encoding="utf-8")
    return read(folder / "plugins.toml", {})
