"""What doctor found, for a person: every check, then a table with a line a source, then what to paste."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from rich.console import Console
from rich.text import Text

from telemetry_mcp.model import Check
from telemetry_mcp.terminal.finding import NONE_ON, Examined, Finding, Level, Measured, Report, level_of, lost
from telemetry_mcp.terminal.number import number_of
from telemetry_mcp.terminal.remedy import is_setting, lines_of, sorted_out
from telemetry_mcp.terminal.table import STYLES, Row, table

LEVELS: tuple[Level, ...] = ("ok", "absent", "warning", "fault")


def show(report: Report, screen: Console) -> None:
    """Print it all. Fixes are not wrapped, and have nothing before or after them on their lines."""
    screen.print(Text(f"{report.path}: {number_of(len(report.sources), 'source')}", style="bold"), soft_wrap=True)
    if report.sources:
        screen.print(table([row for source in report.sources for row in details(source)]))
        screen.print()
        screen.print(table([summary(source) for source in report.sources]))
    screen.print()
    for text in (*fixes(report), *ending(report)):
        screen.print(text, soft_wrap=True)


def details(source: Examined) -> Iterator[Row]:
    """A line a check, with what a permission is good for; metrics that are alike share one."""
    rows = [*map(checked, source.checks), *metrics(source)]
    for place, row in enumerate(rows):
        off = {"result": "off"} if source.off else {}
        yield {"source": source.source if place == 0 else "", **row, **off}


def checked(check: Check) -> Row:
    row = {"check": check.name, "result": level_of(check)}
    if check.ok:
        return {**row, "enables": check.enables, "detail": check.detail}
    remedy = check.fix if row["result"] == "absent" else ""
    return {**row, "enables": "", "detail": "; ".join(text for text in (lost(check), remedy) if text)}


def metrics(source: Examined) -> Iterator[Row]:
    with_data = [metric for metric in source.metrics if metric.level == "ok"]
    if with_data:
        yield {
            "check": f"{len(with_data)} of {len(source.metrics)} metrics",
            "result": "ok",
            "enables": "",
            "detail": ", ".join(map(answered, with_data)),
        }
    for finding in source.lacking:
        yield {"check": finding.check, "result": finding.level, "enables": "", "detail": finding.detail}


def answered(metric: Measured) -> str:
    took = "" if metric.latency_ms is None else f", {metric.latency_ms:.0f} ms"
    return f"{metric.metric} ({metric.detail}{took})"


def summary(source: Examined) -> Row:
    slowest = source.slowest
    counts = Counter(source.levels)
    return {
        "source": source.source,
        "verdict": source.status,
        "slowest": f"{slowest[0]} {slowest[1]:.0f} ms" if slowest else None,
        "checks": "" if source.off else ", ".join(f"{counts[level]} {level}" for level in LEVELS if counts[level]),
    }


def fixes(report: Report) -> Iterator[Text]:
    """What to do, with comments: a whole block may be pasted, the TOML ones together make one document."""
    told: set[str] = set()
    for _, found in groupby(report.fixes, lambda finding: finding.source):
        findings = list(found)
        with_toml = [finding for finding in findings if is_setting(finding.fix)]
        for finding in findings:
            if finding not in with_toml:
                yield from words(finding)
                yield from block(finding.fix.splitlines()[1:])
            elif finding is with_toml[0]:
                yield from settings(with_toml, told)


def settings(findings: list[Finding], told: set[str]) -> Iterator[Text]:
    """The lines of plugins.toml that mend the findings of a source, under one heading each.

    `told` are the lines of tables that other sources share, such as [defaults].
    """
    for finding in findings:
        yield from words(finding)
    tables, others = sorted_out(finding.fix.partition("\n")[2] for finding in findings)
    shared = {heading: keys for heading, keys in tables.items() if not heading.startswith("[sources.")}
    again = [heading for heading in shared if heading in told]
    told.update(shared)
    yield from block(lines_of({heading: keys for heading, keys in tables.items() if heading not in again}))
    if others:
        yield from block(others)


def words(finding: Finding) -> Iterator[Text]:
    whose = f"{finding.source}, {finding.check}" if finding.source else finding.check
    yield Text(f"# {whose}: {finding.detail}", style=STYLES[finding.level])
    yield Text(f"# {finding.fix.partition(chr(10))[0]}")


def block(lines: list[str]) -> Iterator[Text]:
    yield from map(Text, lines)
    yield Text()


def ending(report: Report) -> Iterator[Text]:
    off = [source.source for source in report.sources if source.status == "off"]
    if off:
        yield Text(f"switched off: {', '.join(off)}", style=STYLES["off"])
    warned = [source.source for source in report.sources if source.status == "warning"]
    if warned:
        yield Text(f"worth a look: {', '.join(warned)}", style=STYLES["warning"])
    at_fault = [source.source for source in report.sources if source.status == "fault"]
    at_fault += [finding.check for finding in report.apart if finding.check != NONE_ON]
    if report.idle:
        yield Text(NONE_ON, style=STYLES["fault"])
    if at_fault:
        yield Text(f"needs attention: {', '.join(at_fault)}", style=STYLES["fault"])
    if report.problems:
        yield Text(
            f"no server starts with this file: {number_of(len(report.problems), 'problem')}", style=STYLES["fault"]
        )
    elif not at_fault and not warned and not report.idle:
        yield Text("all is well", style=STYLES["ok"])
