"""What doctor found out: checks and metrics of every source, and what must be done about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from telemetry_mcp.errors import Problem
from telemetry_mcp.model import Check
from telemetry_mcp.terminal.number import plural
from telemetry_mcp.terminal.remedy import joined

Level = Literal["ok", "absent", "warning", "fault"]
"""`absent` is what is not there and need not be; `warning` needs a look, `fault` somebody who acts."""

NONE_ON = "no source is on"

NUMBER = re.compile(r"\d+")
"""Times and sizes do not make two failures different."""


def level_of(check: Check) -> Level:
    if check.ok:
        return "ok"
    if not check.optional:
        return "fault"
    return "absent" if check.enables else "warning"


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric, asked for its newest values; `preset` names where its query is from, None: the user's table.

    `services` counts those with a value. A query that the user wrote and that fails is a fault, one that finds
    nothing a warning; what a preset asks for and this backend does not have is absent.
    """

    metric: str
    status: Literal["data", "no_data", "failed"]
    services: int
    latency_ms: float | None
    detail: str
    preset: str | None = None
    fix: str = ""

    @property
    def level(self) -> Level:
        if self.status == "no_data":
            return "warning" if self.preset is None else "absent"
        return "ok" if self.status == "data" else "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not ok. `source` is empty for what concerns the file as a whole.

    The first line of `fix` is a sentence; further lines are ready to be pasted: TOML, then commands or SQL.
    """

    source: str
    check: str
    level: Level
    detail: str
    fix: str


@dataclass(frozen=True, slots=True)
class Examined:
    """One source. `latency_ms` is what the plugin's own checks took, `off` true for one that is switched off."""

    source: str
    plugin: str
    checks: tuple[Check, ...]
    metrics: tuple[Measured, ...] = ()
    latency_ms: float | None = None
    off: bool = False

    @property
    def levels(self) -> list[Level]:
        return [*map(level_of, self.checks), *(metric.level for metric in self.metrics)]

    @property
    def status(self) -> Literal["ok", "warning", "fault", "off"]:
        if self.off:
            return "off"
        return "fault" if "fault" in self.levels else "warning" if "warning" in self.levels else "ok"

    @property
    def slowest(self) -> tuple[str, float] | None:
        """What took longest and how many milliseconds: a metric, or the plugin's own checks."""
        took = {metric.metric: metric.latency_ms for metric in self.metrics} | {"checks": self.latency_ms}
        known = {name: ms for name, ms in took.items() if ms is not None}
        return max(known.items(), key=lambda pair: pair[1], default=None)

    @property
    def findings(self) -> list[Finding]:
        """What is not ok, the faults first. Metrics without data in the same words are one."""
        if self.off:
            return []
        found = [
            Finding(self.source, check.name, level_of(check), lost(check), check.fix)
            for check in self.checks
            if not check.ok
        ]
        order = ("fault", "warning", "absent")
        return sorted([*found, *self.lacking], key=lambda finding: order.index(finding.level))

    @property
    def lacking(self) -> Iterator[Finding]:
        """The metrics without data."""
        alike: dict[tuple[Level, str], list[Measured]] = {}
        for metric in self.metrics:
            if metric.level != "ok":
                alike.setdefault((metric.level, NUMBER.sub("#", metric.detail)), []).append(metric)
        for (level, _), metrics in alike.items():
            names = ", ".join(metric.metric for metric in metrics)
            yield Finding(
                self.source,
                f"{plural('metric', len(metrics))} {names}",
                level,
                metrics[0].detail,
                joined(metric.fix for metric in metrics),
            )


def lost(check: Check) -> str:
    """A check's detail, with what its failing costs."""
    costs = f"costs: {check.enables}" if check.enables else ""
    return "; ".join(text for text in (check.detail, costs) if text)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found. `problems` are those of plugins.toml, `apart` what belongs to no source."""

    path: Path
    sources: tuple[Examined, ...]
    problems: tuple[Problem, ...] = ()
    apart: tuple[Finding, ...] = ()

    @property
    def findings(self) -> list[Finding]:
        return [*self.apart, *(finding for source in self.sources for finding in source.findings)]

    @property
    def fixes(self) -> list[Finding]:
        """What is to be done: a remedy that several findings of a source share is there once, with the first.

        What is absent has none: nothing must be done about it.
        """
        told: dict[tuple[str, str], Finding] = {}
        for finding in self.findings:
            if finding.fix and finding.level != "absent":
                told.setdefault((finding.source, finding.fix), finding)
        return list(told.values())

    @property
    def idle(self) -> bool:
        """Whether there is no source, or every one is switched off."""
        return all(source.off for source in self.sources)

    @property
    def code(self) -> int:
        """The exit code: 2 when plugins.toml is wrong, 1 when anything has a fault, else 0."""
        if self.problems:
            return 2
        return int(any(finding.level == "fault" for finding in self.findings))
