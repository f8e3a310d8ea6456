"""`make bench`: every figure of speed, size and quality against a reference in the same run, as one table.

Prints the table and writes it to bench/results/latest.md. Exits 1 when a limit is missed. With names of parts
(`run.py causes incidents`) only those are measured, and nothing is written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import access
import anomaly
import audit
import causes
import crowd
import decode
import fanout
import http_calls
import incidents
import instances
import merging
import sinks
import sources
import start
import thinning
import tokens
from figure import Figure

from telemetry_mcp import log

RESULTS = Path(__file__).parent / "results" / "latest.md"
PARTS: tuple[Callable[[], list[Figure]], ...] = (
    fanout.measure,
    decode.measure,
    sources.measure,
    http_calls.measure,
    audit.measure,
    start.measure,
    tokens.measure,
    anomaly.measure,
    merging.measure,
    thinning.measure,
    causes.measure,
    incidents.measure,
    sinks.measure,
    instances.measure,
    access.measure,
    crowd.measure,
)


def table(figures: list[Figure]) -> str:
    head = "| what | measured | reference | ratio | limit | |\n|---|---|---|---|---|---|"
    rows = [
        f"| {f.what} | {f.measured:.4g} {f.unit} | {f.reference_text} | {f.value:.3f} "
        f"| {f.relation} {f.limit:g} | {'ok' if f.ok else 'MISSED'} |"
        for f in figures
    ]
    return "\n".join([head, *rows]) + "\n"


def main() -> int:
    log.configure()
    named = sys.argv[1:]
    parts = [part for part in PARTS if not named or part.__module__ in named]
    figures = [figure for part in parts for figure in part()]
    text = table(figures)
    if not named:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
