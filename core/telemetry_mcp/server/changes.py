"""list_changes: deployments, feature flags and other changes of every source that knows any."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from telemetry_mcp.model import Change, Outcome
from telemetry_mcp.question import ChangeQuery
from telemetry_mcp.server.argument import period
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer, ExternalText, Lean, envelope, iso, span
from telemetry_mcp.text import clean, cleaned

MOST = 50
SAME_MS = 120_000
"""A deployment that two systems report within this time, of one service and version, is one."""
LINKED_MS = 3_600_000
"""Reports with the same link are of one change within this time: a link may be to a pipeline, not to a run."""


class ChangeRow(Lean):
    at: str
    kind: str
    service: ExternalText | None
    title: ExternalText
    version: ExternalText | None = None
    author: ExternalText | None = None
    url: ExternalText | None = None
    sources: list[str]


class Changes(Answer):
    changes: list[ChangeRow]
    total: int | None


async def answer(call: Call, service: str | None, hours: float) -> Changes:
    window = period(call.now_ms, call.engine.config.defaults.lookback, hours=hours)
    if service:
        await call.service(service)
    outcomes = await call.ask(ChangeQuery(window, (service,) if service else ()))
    found = united(outcomes)
    if len(found) > MOST:
        call.warnings.append(f"the newest {MOST} of {len(found)} changes are shown; ask for fewer hours")
    return Changes(
        changes=[row(change, sources) for change, sources in found[:MOST]],
        total=len(found) if any(outcome.answered for outcome in outcomes) else None,
        window=span(window),
        **envelope(outcomes, more=call.warnings),
    )


def united(outcomes: Sequence[Outcome[Change]]) -> list[tuple[Change, list[str]]]:
    """Every change once with the sources that tell of it, the newest first."""
    told = [(change, outcome.source) for outcome in outcomes for change in outcome.reply.items]
    found: list[tuple[Change, list[str]]] = []
    recent = 0
    for change, source in sorted(told, key=lambda pair: pair[0].at_ms):
        while recent < len(found) and change.at_ms - found[recent][0].at_ms > LINKED_MS:
            recent += 1
        near = islice(found, recent, None)
        known = next((each for each in near if source not in each[1] and same(each[0], change)), None)
        if known is None:
            found.append((change, [source]))
        else:
            known[1].append(source)
    return found[::-1]


def same(one: Change, other: Change) -> bool:
    if one.url and one.url == other.url and abs(one.at_ms - other.at_ms) <= LINKED_MS:
        return True
    alike = one.version == other.version if one.version and other.version else one.title == other.title
    return one.service == other.service and abs(one.at_ms - other.at_ms) <= SAME_MS and alike


def row(change: Change, sources: list[str]) -> ChangeRow:
    return ChangeRow(
        at=iso(change.at_ms) or "",
        kind=clean(change.kind, 40),
        service=change.service,
        title=clean(change.title),
        version=cleaned(change.version, 80),
        author=cleaned(change.author, 80),
        url=cleaned(change.url),
        sources=sources,
    )
