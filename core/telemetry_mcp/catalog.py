"""The catalog: what a normalized metric is. These are built in; `[metrics.<name>]` changes or adds to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from itertools import accumulate
from typing import Any, Literal

from pydantic import Field, model_validator

from telemetry_mcp.errors import QuestionError
from telemetry_mcp.setting import Strict, Unit
from telemetry_mcp.text import clean, few
from telemetry_mcp.unit import per_second

ECHOED = 80
"""Characters of a name that is quoted in a refusal."""
SUGGESTED = 1500
"""Characters of the valid names after it."""


Kind = Literal["gauge", "counter", "ratio", "percentile"]


class Metric(Strict):
    """A normalized metric: its unit, when it is bad, and how samples of one interval are put together."""

    key: str = Field("", description="field name in get_current_metrics; default: the metric's name")
    unit: Unit = Field("", description="the unit every source's values are converted to")
    warning: float | None = Field(None, allow_inf_nan=False, description="WARNING from here on")
    critical: float | None = Field(None, allow_inf_nan=False, description="CRITICAL from here on")
    bad: Literal["above", "below"] = Field("above", description="on which side of the limits it is bad")
    kind: Kind = Field("gauge", description="gauge, counter (shown as its rate), ratio or percentile")
    aggregate: Literal["mean", "max"] = Field("mean", description="samples of one interval become their ...")
    owner: str | None = Field(None, description="the source whose value is shown first")
    aliases: tuple[str, ...] = Field((), description="other names a question may use")
    hidden: bool = Field(False, description="for objectives only: in no list, and asked for by no other tool")

    @model_validator(mode="before")
    @classmethod
    def largest_percentile(cls, data: Any) -> Any:
        """The percentiles of an interval's parts have no mean that would mean anything: their largest is shown."""
        if isinstance(data, dict) and data.get("kind") == "percentile":
            return {"aggregate": "max", **data}
        return data

    @model_validator(mode="after")
    def fits_its_kind(self) -> Metric:
        if self.kind == "percentile" and self.aggregate != "max":
            raise ValueError('percentiles are never averaged: leave aggregate away, or write "max"')
        if self.kind == "counter" and self.unit and not per_second(self.unit):
            raise ValueError("a counter is shown as its rate: its unit is per_s, bytes_per_s or the like")
        return self

    @property
    def comparison(self) -> Literal["<=", ">="]:
        """How a value relates to a limit when it is good."""
        return "<=" if self.bad == "above" else ">="

    @property
    def limited(self) -> bool:
        return self.warning is not None or self.critical is not None

    def status(self, value: float) -> Literal["OK", "WARNING", "CRITICAL"]:
        sign = 1 if self.bad == "above" else -1
        if self.critical is not None and sign * value >= sign * self.critical:
            return "CRITICAL"
        if self.warning is not None and sign * value >= sign * self.warning:
            return "WARNING"
        return "OK"


BUILT_IN: Mapping[str, Metric] = {
    "cpu": Metric(key="cpu_percent", unit="percent", warning=75, critical=90),
    "memory": Metric(key="memory_percent", unit="percent", warning=80, critical=92),
    "error_rate": Metric(kind="ratio", unit="percent", warning=1, critical=5, aliases=("errors",)),
    "request_rate": Metric(unit="per_s", aliases=("throughput", "requests", "traffic")),
    "latency_avg": Metric(key="latency_avg_ms", unit="ms", aliases=("response_time",)),
    "latency_p50": Metric(kind="percentile", key="latency_p50_ms", unit="ms"),
    "latency_p95": Metric(
        kind="percentile", key="latency_p95_ms", unit="ms", warning=500, critical=1000, aliases=("latency",)
    ),
    "latency_p99": Metric(kind="percentile", key="latency_p99_ms", unit="ms"),
    "availability": Metric(
        kind="ratio",
        key="availability_percent",
        unit="percent",
        warning=99.9,
        critical=99,
        bad="below",
        aliases=("uptime",),
    ),
    "apdex": Metric(kind="ratio", unit="ratio", warning=0.85, critical=0.7, bad="below"),
    "disk": Metric(key="disk_percent", unit="percent", warning=80, critical=90, aggregate="max"),
    "network_receive": Metric(unit="bytes_per_s"),
    "network_transmit": Metric(unit="bytes_per_s"),
    "restarts": Metric(unit="count", aliases=("restart_count",)),
}


class Catalog(Mapping[str, Metric]):
    """The normalized metrics of this installation, by name."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = dict(metrics)
        self.names = {
            name: metric
            for metric, spec in self.metrics.items()
            for name in (*spec.aliases, spec.key, metric)
            if name
        }

    def __getitem__(self, name: str) -> Metric:
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def key(self, name: str) -> str:
        return self.metrics[name].key or name

    def resolve(self, name: str) -> str:
        """The metric that `name` (its name, its key or an alias) means. QuestionError with the valid names."""
        if name in self.metrics:
            return name
        if name in self.names:
            return self.names[name]
        shown = [metric for metric, spec in self.metrics.items() if not spec.hidden]
        raise QuestionError(f"no metric is called {echo(name)}{suggest(name, shown)}")


def echo(text: str) -> str:
    """What a caller wrote, as a refusal quotes it: one line, cut."""
    return repr(clean(text, ECHOED))


def suggest(name: str, valid: Iterable[str], limit: int = 40) -> str:
    """The end of a sentence about an unknown name: the nearest match, then the valid names."""
    names = sorted({clean(each, ECHOED) for each in valid})
    if not names:
        return "; none is known"
    near = get_close_matches(clean(name, ECHOED), names, n=1, cutoff=0.5)
    meant = f"; did you mean {near[0]!r}?" if near else ";"
    lengths = accumulate(len(each) + 2 for each in names)
    shown = [each for each, length in zip(names[:limit], lengths, strict=False) if length <= SUGGESTED]
    return f"{meant} Valid: {few(names, len(shown))}"
