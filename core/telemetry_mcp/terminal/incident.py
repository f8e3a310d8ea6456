"""`telemetry-mcp demo --incident`: one page of the simulated estate, investigated before your eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from anyio import create_task_group

from telemetry_mcp.terminal.conversation import Told, clock, tabled
from telemetry_mcp.terminal.desk import Asked, Desk, Row
from telemetry_mcp.terminal.sparkline import sparkline

MOST_LINES, MOST_SUSPECTS, MOST_METRICS = 24, 3, 2
WIDTH = 90
"""Minutes that are drawn: the last so many."""
BEFORE_S = 3600


async def page(desk: Desk) -> Told:
    listed = await desk.call("list_incidents", status="all", since="2h")
    rows = [
        {
            "opened": clock(row["opened"]),
            "service": row["service"],
            "title": row["title"],
            "status": row["status"],
            "told by": row["source"],
            "and": len(row["also"]),
        }
        for row in listed.rows("incidents")
    ]
    return Told([listed], tabled(rows), [f"{len(rows)} incidents and alerts in the last two hours."])


async def investigation(desk: Desk) -> Told:
    listed = await desk.call("list_incidents", status="all", since="2h")
    paged = next(filter(None, map(paged_as, listed.rows("incidents"))), None)
    if paged is None:
        return Told([listed], [], ["Unknown: PagerDuty could not be heard, so nobody knows of the page."])
    found = await desk.call("investigate_incident", incident_id=paged)
    suspects = found.rows("suspects")[:MOST_SUSPECTS]
    histories = await seen(desk, found, suspects)
    titles = {row["evidence"]: row["title"] for row in found.rows("changes")}
    shown = [
        *tabled([line(row, titles) for row in found.rows("timeline")[:MOST_LINES]]),
        *tabled([row for suspect in suspects for row in drawn(suspect, histories, desk.plain)]),
        *tabled([candidate(row) for row in found.rows("changes") if row.get("before_onset_min") is not None]),
    ]
    facts = [str(found.fields.get("summary", "Unknown: there is no answer."))]
    facts += [f"Not examined: {row}." for row in found.rows("not_examined")[:3]]
    duty = [f"{row['person']} (level {row['level']})" for row in found.rows("on_call")]
    facts.append(f"On call: {', '.join(duty)}." if duty else "Who is on call is not known.")
    return Told([found, *histories.values()], shown, facts)


def paged_as(row: Row) -> str | None:
    """PagerDuty's id of an incident that it tells of."""
    told = dict(each.split(": ", 1) for each in (f"{row['source']}: {row['id']}", *row["also"]))
    return told.get("pagerduty")


INCIDENT = (("What are people paged for?", page), ("What happened, and where did it begin?", investigation))


async def seen(desk: Desk, found: Asked, suspects: Sequence[Row]) -> dict[tuple[str, str], Asked]:
    """The metrics that speak most against each suspect, around the page."""
    histories: dict[tuple[str, str], Asked] = {}
    if not suspects:
        return histories
    start = moment(datetime.fromisoformat(found.fields["incident"]["at"]).timestamp() - BEFORE_S)

    async def history(service: str, metric: str) -> None:
        histories[service, metric] = await desk.call(
            "query_historical_metrics", service=service, metric_type=metric, start=start, step="1m", max_points=240
        )

    async with create_task_group() as questions:
        for suspect in suspects:
            for row in deviating(suspect):
                questions.start_soon(history, suspect["service"], row["metric"])
    return histories


def drawn(suspect: Row, histories: dict[tuple[str, str], Asked], plain: bool) -> list[Row]:
    return [
        {
            "suspect": suspect["service"],
            "metric": row["metric"],
            "the hour before, and since": sparkline(points(histories, suspect, row), plain=plain),
            "before": row["before"],
            "after": row["after"],
            "from": clock(row["onset"]),
            "evidence": row["evidence"],
        }
        for row in deviating(suspect)
    ]


def deviating(suspect: Row) -> Sequence[Row]:
    return [row for row in suspect["metrics"] if row["onset"]][:MOST_METRICS]


def points(histories: Mapping[tuple[str, str], Asked], suspect: Row, row: Row) -> Sequence[float | None]:
    series: Row = histories[suspect["service"], row["metric"]].fields.get("series") or {}
    values: Sequence[float | None] = series.get("values") or []
    return values[-WIDTH:]


def line(row: Row, titles: Mapping[str, str]) -> Row:
    return {
        "at": row["at"][11:19],
        "what": row["kind"],
        "service": row.get("service"),
        "told": row.get("text") or titles.get(row["evidence"]),
        "by": row.get("source"),
        "evidence": row["evidence"],
    }


def candidate(row: Row) -> Row:
    return {
        "change": row["title"],
        "service": row["service"],
        "at": clock(row["at"]),
        "min before onset": row["before_onset_min"],
        "evidence": row["evidence"],
    }


def moment(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
