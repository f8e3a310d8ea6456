"""The five example conversations: what is asked, and what the answers say, nothing of it invented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from anyio import create_task_group
from rich.console import RenderableType

from telemetry_mcp.terminal.crossing import Crossing, crossing
from telemetry_mcp.terminal.desk import Asked, Desk, Row
from telemetry_mcp.terminal.number import number_of
from telemetry_mcp.terminal.sparkline import bar, sparkline
from telemetry_mcp.terminal.table import cell, table

SUSPECT = "payment-processor"
SYMPTOMS = ("cpu", "latency_p95", "error_rate")
ANOMALY_HOURS = 48
MOST = 10
UNITS = {"percent": "%"}


@dataclass(frozen=True, slots=True)
class Told:
    """What was asked and answered: tables, and sentences that say nothing but what is in them."""

    calls: Sequence[Asked]
    shown: Sequence[RenderableType]
    facts: Sequence[str]


async def health(desk: Desk) -> Told:
    services = await desk.call("list_services")
    incidents = await desk.call("list_incidents")
    rows, opened = services.rows("services"), incidents.rows("incidents")
    states = Counter(row["status"] for row in rows)
    counted = ", ".join(f"{count} {state}" for state, count in states.most_common())
    unwell = [row for row in rows if row["status"] in ("WARNING", "CRITICAL")]
    named = [f"{r['name']} is {r['status']}: {readings(r)}." for r in unwell]
    columns = ("name", "status", "cpu", "memory", "error_rate", "open_incidents")
    return Told(
        [services, incidents],
        [*tabled(rows, columns), *tabled([page(row) for row in opened])],
        [f"{len(rows)} services: {counted or 'none'}; {number_of(len(opened), 'open incident')}.", *named],
    )


async def slowness(desk: Desk) -> Told:
    day = (datetime.fromtimestamp(desk.now_ms / 1000, UTC) - timedelta(days=1)).date()
    start, end = f"{day}T13:00:00Z", f"{day}T17:00:00Z"
    catalog = await desk.read("telemetry://catalog")
    histories: dict[str, Asked] = {}

    async def history(metric: str) -> None:
        histories[metric] = await desk.call(
            "query_historical_metrics", service=SUSPECT, metric_type=metric, start=start, end=end, step="1m",
            max_points=240,
        )  # fmt: skip

    async with create_task_group() as questions:
        for metric in SYMPTOMS:
            questions.start_soon(history, metric)
    incidents = await desk.call("list_incidents", service=SUSPECT, status="all", since=start)
    paged = [row for row in incidents.rows("incidents") if row["opened"] <= end]
    limits = {row["name"]: row for row in catalog.rows("metrics")}
    found = [crossing(histories[m].fields, limits[m]) for m in SYMPTOMS if histories[m].fields and m in limits]
    rows = [symptom(c, histories[c.metric].fields, desk.plain) for c in found]
    calls = [catalog, *(histories[metric] for metric in SYMPTOMS), incidents]
    return Told(
        calls,
        [*tabled(rows), *tabled([page(row) for row in paged])],
        [order(found), *(pages(row) for row in paged)],
    )


def symptom(found: Crossing, history: Row, plain: bool) -> Row:
    numbers = history["statistics"]
    return {
        "metric": f"{found.metric} {UNITS.get(history['unit'], history['unit'])}",
        "13:00 to 17:00 UTC": sparkline(history["series"]["values"], 20, plain=plain),
        "median": numbers["p50"],
        "peak": numbers["max"],
        "limit": found.limit,
        "over from": clock(found.start),
        "until": clock(found.end),
    }


def order(found: Sequence[Crossing]) -> str:
    """Which metric passed its limit first, and how much later the others did."""
    crossed = sorted((c for c in found if c.start), key=lambda c: c.start or "")
    if not crossed:
        return "None of the metrics that answered passed its warning limit in this window."
    first, *later = crossed
    then = [f"{c.metric} {minutes_between(first.start, c.start)} min later" for c in later]
    followed = f", then {', then '.join(then)}" if then else ""
    return f"{first.metric} passed its warning limit first, at {clock(first.start)} UTC{followed}."


def page(incident: Row) -> Row:
    return {
        "opened": moment(incident["opened"]),
        "resolved": moment(incident["resolved"]) if incident["resolved"] else None,
        "status": incident["status"],
        "severity": incident["severity"],
        "title": incident["title"],
        "source": incident["source"],
    }


def pages(incident: Row) -> str:
    ended = f", resolved at {clock(incident['resolved'])}" if incident["resolved"] else ", still open"
    return f"{incident['source']} opened an incident at {clock(incident['opened'])}: {incident['title']}{ended}."


async def objectives(desk: Desk) -> Told:
    report = await desk.read("telemetry://sli-report")
    rows = report.rows("objectives")
    counted = ", ".join(
        f"{report.fields.get(verdict) or 0} {verdict.replace('_', ' ')}"
        for verdict in ("compliant", "at_risk", "breached", "unknown")
    )
    facts = [f"{number_of(len(rows), 'objective')}: {counted}."]
    facts += [f"{row['slo']}: {row['summary']}" for row in rows if row["state"] in ("critical", "warning")]
    known = [row for row in rows if row["budget_remaining"] is not None]
    if known:
        least = min(known, key=lambda row: row["budget_remaining"])
        facts.append(f"Least error budget left: {least['slo']}, {percent(least['budget_remaining'])} %.")
    return Told([report], tabled([standing(row) for row in rows]), facts)


def standing(row: Row) -> Row:
    return {
        "objective": row["slo"] or f"{row['metric']} of {row['service']}",
        "goal %": row["objective_percentage"],
        "kept %": row["compliance_percentage"],
        "change": row["trend"],
        "budget left %": percent(row["budget_remaining"]),
        "status": row["status"],
        "burn": row["state"],
    }


def percent(share: float | None) -> int | None:
    return None if share is None else round(100 * share)


async def unusual(desk: Desk) -> Told:
    answer = await desk.call("detect_anomalies", hours=ANOMALY_HOURS)
    found = answer.rows("anomalies")
    now = [f"{row['metric']} of {row['service']}" for row in found if row["ongoing"]]
    rows = [
        {
            "service": row["service"],
            "metric": row["metric"],
            "from": moment(row["start"]),
            "for": "ongoing" if row["ongoing"] else f"{minutes_between(row['start'], row['end'])} min",
            "value": row["value"],
            "usually": row["expected"],
            "what": row["lens"],
            "sources": len(row["sources"]),
        }
        for row in sorted(found, key=lambda row: not row["ongoing"])
    ]
    shown = f"; {MOST} are shown" if len(rows) > MOST else ""
    facts = [f"{answer.fields.get('summary', 'Unknown: there is no answer')}{shown}."]
    facts += [agreeing(row) for row in answer.rows("services")[:1]]
    facts.append(f"Still going on: {', '.join(now)}." if now else "None of them is still going on.")
    return Told([answer], tabled(rows[:MOST]), facts)


def agreeing(service: Row) -> str:
    """Where most metrics are unusual together."""
    named = f"{', '.join(service['metrics'])} ({len(service['metrics'])} of {service['judged']} metrics)"
    return f"Most metrics agree at {service['service']}, from {clock(service['start'])} UTC: {named}."


async def appetite(desk: Desk) -> Told:
    services = await desk.call("list_services")
    rows = services.rows("services")
    ranked = sorted(rows, key=lambda row: -((row["cpu"] or 0) + (row["memory"] or 0)))
    shown = [
        {
            "service": row["name"],
            "cpu %": row["cpu"],
            "cpu": bar(row["cpu"], plain=desk.plain),
            "memory %": row["memory"],
            "memory": bar(row["memory"], plain=desk.plain),
        }
        for row in ranked
    ]
    return Told([services], tabled(shown), [most(rows, "cpu"), most(rows, "memory")])


def most(rows: Sequence[Row], metric: str) -> str:
    known = sorted((row for row in rows if row[metric] is not None), key=lambda row: -row[metric])
    first = ", ".join(f"{row['name']} {row[metric]:.1f} %" for row in known[:3])
    return f"Most {metric}: {first}." if first else f"The {metric} of no service is known."


def tabled(rows: Sequence[Row], columns: Sequence[str] = ()) -> list[RenderableType]:
    return [table(rows, columns)] if rows else []


def readings(row: Row) -> str:
    return ", ".join(f"{name} {cell(row[name])} %" for name in ("cpu", "memory", "error_rate"))


def clock(time: str | None) -> str:
    return time[11:16] if time else "-"


def moment(time: str) -> str:
    """Day of the month and time: nothing here is older than a month."""
    return time[8:16].replace("T", " ")


def minutes_between(start: str | None, end: str | None) -> int:
    if not start or not end:
        return 0
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() / 60)


CONVERSATIONS: tuple[tuple[str, Callable[[Desk], Awaitable[Told]]], ...] = (
    ("How are my services?", health),
    (f"Why was {SUSPECT} slow yesterday afternoon?", slowness),
    ("How do our objectives stand, and is any of them burning?", objectives),
    (f"Is anything unusual right now, or in the last {ANOMALY_HOURS} hours?", unusual),
    ("Who uses the most resources?", appetite),
)
