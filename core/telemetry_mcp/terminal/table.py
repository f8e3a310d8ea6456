"""Answers as rich tables: any tool's, by the shape of its fields, so that no tool needs a rendering of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from telemetry_mcp.terminal.number import plural
from telemetry_mcp.terminal.sparkline import sparkline

ENVELOPE = ("window", "sources", "coverage", "warnings")
PIPE_WIDTH = 120
STYLES: Mapping[str, str] = {
    **dict.fromkeys(("OK", "ok", "on", "ready", "COMPLIANT", "agree", "low"), "green"),
    **dict.fromkeys(
        ("WARNING", "AT_RISK", "partial", "backing_off", "no_data", "differ", "medium", "warning"), "yellow"
    ),
    **dict.fromkeys(("acknowledged", "offset", "diverge"), "yellow"),
    **dict.fromkeys(("CRITICAL", "BREACHED", "failed", "fault", "broken", "breaker_open"), "bold red"),
    **dict.fromkeys(("triggered", "high"), "bold red"),
    **dict.fromkeys(("UNKNOWN", "unknown", "insufficient", "skipped", "off", "absent"), "dim"),
}

Row = Mapping[str, Any]


def console(stream: TextIO | None = None, *, color: bool = True) -> Console:
    """On `stream`, else stdout. Plain text where it is no terminal: no colours, no control characters."""
    stream = stream or sys.stdout
    made = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if made.is_terminal and color:
        return made
    width = None if made.is_terminal else PIPE_WIDTH
    return Console(file=stream, highlight=False, markup=False, emoji=False, color_system=None, width=width)


def ascii_only(on: Console) -> bool:
    return not on.encoding.startswith("utf")


def answer(fields: Row, *, plain: bool = False) -> Iterator[RenderableType]:
    """Everything in a tool's answer: its own fields first, the ledger and what was said about it last.

    `plain` draws series with ASCII characters.
    """
    enveloped = fields.get("coverage") is not None
    own = {name: value for name, value in fields.items() if not (enveloped and name in ENVELOPE)}
    yield from shown(own, plain)
    if enveloped:
        if window := fields.get("window"):
            yield line("window", f"{window['start']} to {window['end']}")
        yield Text()
        yield Text(coverage(fields["sources"]), style="bold")
        if fields["sources"]:
            yield ledger(fields["sources"])
        yield from (line("warning", warning, "yellow") for warning in fields["warnings"])


COLUMNS: Mapping[str, tuple[str, ...]] = {
    "anomalies": ("service", "metric", "start", "value", "expected", "deviation", "lens", "severity", "ongoing"),
    "incidents": ("id", "opened", "service", "title", "status", "severity", "source"),
}
"""What a terminal has room for, of rows that have more; `--json` shows all."""


def shown(fields: Row, plain: bool) -> Iterator[RenderableType]:
    for name, value in sorted(fields.items(), key=lambda field: is_rows(field[1])):
        if is_points(value):
            yield line(name, spark(value, plain))
        elif isinstance(value, Mapping):
            yield line(name, "  ".join(f"{key} {cell(inner)}" for key, inner in value.items()))
        elif is_rows(value):
            yield Text()
            yield Text(f"{name} ({len(value)})", style="bold")
            yield table(value, COLUMNS.get(name, ()))
        else:
            yield line(name, cell(value), STYLES.get(str(value), ""))


def is_points(value: Any) -> bool:
    return isinstance(value, Mapping) and {"values", "step_s", "start"} <= value.keys()


def is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def spark(points: Row, plain: bool = False, width: int = 60) -> str:
    """The sparkline of a series as it travels, and the scale that it is drawn to."""
    numbers = [value for value in points["values"] if value is not None]
    if not numbers:
        return "no data"
    return f"{sparkline(points['values'], width, plain=plain)}  {cell(min(numbers))} to {cell(max(numbers))}"


def line(name: str, text: str, style: str = "") -> RenderableType:
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", min_width=12)
    made.add_column(overflow="fold")
    made.add_row(name, Text(text, style=style))
    return made


def table(rows: Sequence[Row], columns: Iterable[str] = ()) -> Table:
    """One row a mapping. Without `columns`: every key that any row has a value for."""
    known = dict.fromkeys(name for row in rows for name in row)
    names = list(columns) or [name for name in known if any(filled(row.get(name)) for row in rows)]
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for place, name in enumerate(names):
        numeric = any(isinstance(row.get(name), int | float) for row in rows)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        made.add_column(name.replace("_", " "), justify=justify, overflow="fold", no_wrap=place == 0)
    for row in rows:
        texts = [cell(row.get(name)) for name in names]
        made.add_row(*(Text(text, style=STYLES.get(text, "")) for text in texts))
    return made


def filled(value: Any) -> bool:
    return value is not None and value not in ("", [], (), {})


def cell(value: Any) -> str:
    """A value as text; null, which means that it is not known, is a dash."""
    if value is None or value in ([], (), {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell(inner)}" for name, inner in value.items())
    if is_rows(value):
        return "; ".join(" ".join(cell(inner) for inner in row.values()) for row in value)
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value)
    return str(value)


def ledger(sources: Sequence[Row]) -> Table:
    """Which sources were asked, and what became of it."""
    return table([ledger_row(source) for source in sources])


def ledger_row(source: Row) -> Row:
    error, age = source["error"], source.get("cached_age_s")
    return {
        "source": source["name"],
        "status": source["status"],
        "ms": source.get("latency_ms"),
        "items": source["items"],
        "newest": source.get("newest"),
        "cached": None if age is None else f"{age:g} s ago",
        "note": noted(error) if error else None,
    }


def noted(error: Row) -> str:
    fix = error.get("fix")
    return f"{error['message']} ({fix})" if fix else str(error["message"])


def coverage(sources: Sequence[Row]) -> str:
    """`3 of 3 sources in 41 ms: prometheus 12 ms, datadog 41 ms, ...; pagerduty skipped (has no series)`."""
    asked = [source for source in sources if source["status"] != "skipped"]
    there = [source for source in asked if source["status"] != "failed"]
    slowest = max((source.get("latency_ms") or 0 for source in asked), default=0)
    each = ", ".join(speed(source) for source in asked)
    reasons: dict[str, list[str]] = {}
    for source in sources:
        if source["status"] == "skipped":
            reasons.setdefault(reason(source), []).append(source["name"])
    skipped = "".join(f"; {', '.join(names)} skipped ({why})" for why, names in reasons.items())
    if not sources:
        return "no source is switched on"
    counted = f"{len(there)} of {len(asked)} {plural('source', len(asked))}"
    return f"{counted} in {slowest:.0f} ms: {each}{skipped}" if asked else f"{counted}{skipped}"


def speed(source: Row) -> str:
    if source["status"] == "failed":
        return f"{source['name']} FAILED ({source['error']['kind']})"
    if source.get("cached_age_s") is not None and not source.get("latency_ms"):
        return f"{source['name']} cached {source['cached_age_s']:.0f} s ago"
    partly = " (partial)" if source["status"] == "partial" else ""
    return f"{source['name']} {source['latency_ms'] or 0:.0f} ms{partly}"


def reason(source: Row) -> str:
    return str(source["error"]["message"]) if source["error"] else "not asked"


def indented(item: RenderableType, by: int = 2) -> Padding:
    return Padding(item, (0, 0, 0, by), expand=False)
