"""Service level objectives and how they stand. What nobody can know is unknown: neither 0 nor 100 %."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from telemetry_mcp import (
    BadQueryError,
    NotFoundError,
    ProtocolError,
    Reply,
    Slo,
    SloQuery,
    Window,
    clean,
    gather,
)
from telemetry_mcp_datadog.scope import SLOS
from telemetry_mcp_datadog.session import Page, Session, page, walk
from telemetry_mcp_datadog.setting import Settings
from telemetry_mcp_datadog.wire import Row, dig, limited, listed, number, required, table, tags, text, words

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """An SLO as it is defined: nothing is known yet of how it stands."""

    slo: Slo
    warning: float | None


async def listed_slos(session: Session, query: SloQuery) -> Reply[Slo]:
    """The definitions, then one history for each; its window is the asked one, whatever the SLO's own is."""
    chosen = limited(await defined(session, query), query.limit, "more SLOs")
    calls = {one.slo.id: partial(standing, session, one, query.window) for one in chosen.items}
    stood: Reply[Slo] = await gather(calls)
    return Reply(
        stood.items,
        [*chosen.queries, *stood.queries],
        [*chosen.warnings, *stood.warnings],
        "; ".join(filter(None, [chosen.partial, stood.partial])) or None,
    )


async def defined(session: Session, query: SloQuery) -> Reply[Target]:
    read_one = partial(target, query=query, settings=session.settings)

    async def fetch(offset: int) -> Page[Target, int]:
        def read(body: Any) -> Page[Target, int]:
            rows = table(body, "data")
            after = offset + PAGE if len(rows) >= PAGE else None
            return page(rows, read_one, "SLOs", lambda row: row.get("id"), after)

        return await session.json(lambda client: client.slos(offset, PAGE), read, SLOS)

    found = await walk(fetch, 0, "SLOs")
    return Reply(found.items, ["/api/v1/slo"], found.warnings, found.partial)


async def standing(session: Session, target: Target, window: Window) -> Reply[Slo]:
    """An SLO whose own history cannot be had is unknown; the others are not harmed by it."""
    slo, start_s, end_s = target.slo, window.start_ms // 1000, -(-window.end_ms // 1000)
    try:
        item = await session.json(
            lambda client: client.slo_history(slo.id, start_s, end_s), partial(stands, target=target), SLOS
        )
    except (BadQueryError, NotFoundError, ProtocolError) as error:
        item = replace(slo, reason=str(error))
    return Reply([item], [f"/api/v1/slo/{slo.id}/history"])


def target(row: Row, query: SloQuery, settings: Settings) -> Target | None:
    """None for one of other services. The first threshold counts, or the one of the SLO's own time frame."""
    named = tags([*listed(row.get("tags")), *listed(row.get("monitor_tags"))])
    asked = {name.lower(): name for name in query.services}
    service = named.get(settings.service_tag, "")
    if asked and service.lower() not in asked:
        return None
    limits = thresholds(row.get("thresholds"))
    frame = text(row.get("timeframe"))
    chosen = next((one for one in limits if one.get("timeframe") == frame), limits[0] if limits else {})
    objective = number(row.get("target_threshold")) or number(chosen.get("target"))
    if objective is None or not 0 < objective <= 100:
        raise ProtocolError("without an objective")
    warning = number(row.get("warning_threshold")) or number(chosen.get("warning"))
    slo = Slo(
        id=required(row.get("id"), "an id"),
        title=required(row.get("name"), "a name"),
        objective=objective,
        window_ms=query.window.duration_ms,
        service=asked.get(service.lower(), service) or None,
        url=f"{settings.app_url}/slo?slo_id={text(row.get('id'))}",
    )
    return Target(slo, warning)


def thresholds(given: Any) -> list[Mapping[str, Any]]:
    """They come as a list, and elsewhere as an object by time frame."""
    found = list(given.values()) if isinstance(given, dict) else listed(given)
    return [one for one in found if isinstance(one, dict)]


def stands(body: Any, target: Target) -> Slo:
    """An error or a lack of data inside a success is a reason to know nothing."""
    overall = dig(body, "data", "overall")
    if not isinstance(overall, dict):
        raise ProtocolError("the history has no overall value")
    slo, sli, state = target.slo, number(overall.get("sli_value")), text(overall.get("state"))
    said = [
        text(dig(one, "error_message")) or text(dig(one, "error_type")) for one in listed(overall.get("errors"))
    ]
    reason = clean("; ".join(filter(None, [*said, *words(dig(body, "errors"))])))
    if sli is None or said or state == "no_data" or not 0 <= sli <= 100:
        return replace(slo, reason=reason or "no data")
    allowed = 100 - slo.objective
    left = round(100 * (1 - (100 - sli) / allowed), 6) if allowed else None
    return replace(slo, sli=sli, state=state_of(sli, target), budget_left=left)


def state_of(sli: float, target: Target) -> str:
    if sli < target.slo.objective:
        return "breached"
    return "warning" if target.warning is not None and sli < target.warning else "ok"
