"""list_incidents: the incidents of every source that has them, each once, in one shape."""

from __future__ import annotations

from typing import Literal

from telemetry_mcp.question import IncidentQuery
from telemetry_mcp.server.argument import duration_s, moment_ms, period
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer, ExternalText, Shape, envelope, iso, span
from telemetry_mcp.server.join import Joined, joined
from telemetry_mcp.text import clean, cleaned

IncidentStatus = Literal["open", "triggered", "acknowledged", "resolved", "all"]
STATUSES: dict[IncidentStatus, tuple[str, ...]] = {
    "open": ("triggered", "acknowledged"),
    "triggered": ("triggered",),
    "acknowledged": ("acknowledged",),
    "resolved": ("resolved",),
    "all": (),
}
MOST = 50


class IncidentRow(Shape):
    """`kind` is incident, or alert for what a monitoring system fires by itself; `also` are the others that tell
    of the same: source and id."""

    id: str
    kind: str
    title: ExternalText
    service: ExternalText | None
    status: str
    urgency: str | None
    severity: ExternalText | None
    opened: str
    acknowledged: str | None
    resolved: str | None
    url: ExternalText | None
    source: str
    also: list[str]


class Incidents(Answer):
    incidents: list[IncidentRow]
    total: int | None


async def answer(call: Call, service: str | None, status: IncidentStatus, since: str) -> Incidents:
    start = start_of(since)
    moment_ms(start, call.now_ms, "since")  # so that the refusal speaks of `since`, not of a start
    window = period(call.now_ms, call.engine.config.defaults.lookback, hours=1, start=start)
    if service:
        await call.service(service)
    question = IncidentQuery(window, (service,) if service else (), STATUSES[status])
    outcomes = await call.ask(question)
    found = joined(outcomes, call.engine.registry.having("on_call"))
    if len(found) > MOST:
        call.warnings.append(f"the newest {MOST} of {len(found)} incidents are shown; ask for a later since")
    return Incidents(
        incidents=[row(each) for each in found[:MOST]],
        total=len(found) if any(outcome.answered for outcome in outcomes) else None,
        window=span(window),
        **envelope(outcomes, more=call.warnings),
    )


def start_of(since: str) -> str:
    """`since` as a time: a bare duration such as 24h means so long before now."""
    if since[-1:].isalpha() and since[:1].isdigit() and "T" not in since:
        duration_s(since, "since")
        return f"now-{since}"
    return since


def row(told: Joined) -> IncidentRow:
    incident = told.incident
    return IncidentRow(
        id=incident.id,
        kind=incident.kind,
        title=clean(incident.title),
        service=incident.service,
        status=incident.status,
        urgency=incident.urgency,
        severity=incident.severity,
        opened=iso(incident.opened_ms) or "",
        acknowledged=iso(incident.acknowledged_ms),
        resolved=iso(incident.resolved_ms),
        url=cleaned(incident.url),
        source=told.first.source,
        also=told.also,
    )
