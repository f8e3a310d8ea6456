"""What doctor found, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.text import Text

from telemetry_mcp.config import Config
from telemetry_mcp.terminal.doctor import Examined
from telemetry_mcp.terminal.table import Row, table


def report(config: Config, found: Sequence[Examined]) -> Group:
    """A line a check, and at the end what must be done."""
    counted = Text(f"{config.path}: {len(found)} sources", style="bold")
    rows = [row for source in found for row in checks(source)]
    return Group(counted, table(rows) if rows else Text("no source is configured"), "", *ending(found))


def checks(source: Examined) -> Iterator[Row]:
    for place, check in enumerate(source.checks or ()):
        first = place == 0
        yield {
            "source": source.source if first else "",
            "ms": source.latency_ms if first else "",
            "check": check.name,
            "result": "ok" if check.ok else source.status,
            "detail": check.detail,
            "fix": "" if check.ok else check.fix,
        }
    if not source.checks:
        yield {"source": source.source, "ms": source.latency_ms, "check": "reachable", "result": source.status}


def ending(found: Sequence[Examined]) -> Iterator[Text]:
    faults = [source.source for source in found if source.fault]
    off = [source.source for source in found if source.status == "off"]
    if off:
        yield Text(f"switched off: {', '.join(off)}", style="dim")
    if faults:
        yield Text(f"needs attention: {', '.join(faults)}", style="bold red")
    else:
        yield Text("all is well", style="green")
