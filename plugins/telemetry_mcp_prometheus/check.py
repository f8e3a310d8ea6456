"""What `doctor` asks a Prometheus: is it reachable, what may be read, does its clock agree, what is it?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from time import time
from typing import TYPE_CHECKING

from telemetry_mcp import (
    AuthError,
    Check,
    HttpReply,
    NotFoundError,
    Reply,
    ServiceQuery,
    SourceError,
    Window,
    clock_check,
    date_s,
    failed_check,
    now_ms,
    side_by_side,
)
from telemetry_mcp_prometheus.flavor import FLAVORS
from telemetry_mcp_prometheus.inventory import services
from telemetry_mcp_prometheus.rule import alerts_of, rules_of
from telemetry_mcp_prometheus.wire import decode, envelope_of

if TYPE_CHECKING:
    from telemetry_mcp_prometheus.api import Api

RECENT_MS = 3_600_000

Part = Callable[["Api"], Awaitable[list[Check]]]


async def checks(api: Api) -> Reply[Check]:
    """Every part at once; where nobody gets in, the first says so for all."""
    looks = {
        Check(name, ok=True, enables=enables, optional=optional): partial(part, api, name)
        for name, (_, enables, optional) in PARTS.items()
    }
    found = await side_by_side(looks)
    clock = [check for check in found if check.name == "clock"]
    within = any(check.ok for check in found if check not in clock)
    return Reply(found if within else [found[0], *clock])


async def part(api: Api, name: str) -> list[Check]:
    """What one part found, or why it could not."""
    run, enables, optional = PARTS[name]
    try:
        return await run(api)
    except SourceError as error:
        return [
            failed_check(
                Check(name, ok=True, enables=enables, optional=optional), error, fix_for(error, name, api)
            )
        ]


def fix_for(error: SourceError, name: str, api: Api) -> str:
    if isinstance(error, AuthError):
        return error.hint
    if name in ("alerts", "rules"):
        return api.settings.kind.rules
    if name == "build" and isinstance(error, NotFoundError):
        return "nothing depends on it"
    return error.hint


async def ask_query(api: Api) -> list[Check]:
    """The clock is judged by any answer, be it a refusal."""
    query = Check("query", ok=True, detail="answers PromQL", enables=SERIES)
    reply = await api.send("POST", "query", {"query": "1"})
    clock = clock_check(date_s(reply.headers), time())
    try:
        decode(api.taken(reply))
    except SourceError as error:
        query = failed_check(query, error)
    return [query, clock]


async def ask_services(api: Api) -> list[Check]:
    at = now_ms()
    found = await services(api, ServiceQuery(Window(at - RECENT_MS, at)))
    label, count = api.settings.service_label, len(found.items)
    detail = f"{count} services seen in the last hour by the label {label}"
    fix = "" if count else "set service_label to the label that holds a service's name (and service_metric)"
    return [Check("services", count > 0, detail, fix, "services", optional=True)]


async def ask_alerts(api: Api) -> list[Check]:
    found = alerts_of(await api.request("GET", "alerts", {}))
    detail = f"{len(found.alarms)} firing, {found.pending} pending"
    return [Check("alerts", True, detail, enables=ALERTS, optional=True)]


async def ask_rules(api: Api) -> list[Check]:
    found = rules_of(await api.request("GET", "rules", {"type": "alert"}))
    if not found.count:
        kind = api.settings.kind
        fix = "" if kind.evaluates else kind.rules
        return [Check("rules", kind.evaluates, "no alert rules: no alert can fire", fix, ALERTS, True)]
    detail = "; ".join([f"{found.count} alert rules", *found.remarks()])
    fix = "correct the expressions of these rules" if found.broken else ""
    return [Check("rules", not found.broken, detail, fix, ALERTS, True)]


async def ask_build(api: Api) -> list[Check]:
    """What it says that it is. Some keep that to themselves, and some proxies let nobody ask."""
    reply = await api.request("GET", "status/buildinfo", {})
    data = envelope_of(reply).get("data")
    told = data if isinstance(data, dict) else {}
    seen, set_to = flavor_of(told, reply), api.settings.flavor
    version = str(told.get("version") or "of a version that it does not tell")
    fix = "" if seen in (None, set_to) else f'set flavor = "{seen}" in this source\'s table'
    title = FLAVORS[seen or set_to].title
    return [Check("build", not fix, f"{title} {version}", fix, "the parameters and limits of its kind", True)]


def flavor_of(told: dict[str, object], reply: HttpReply) -> str | None:
    """Which member of the family answers like this; None where it does not show."""
    if "x-server-hostname" in reply.headers:  # which VictoriaMetrics sends with everything
        return "victoriametrics"
    if "mimir" in str(told.get("application", "")).lower():
        return "mimir"
    version = str(told.get("version", ""))
    if version.startswith("0."):  # Thanos has not reached 1.0, Prometheus has left 0.x before it had this endpoint
        return "thanos"
    return "prometheus" if version.startswith(("2.", "3.")) and "application" not in told else None


SERIES, ALERTS = "series of metrics", "incidents: alerts that fire or fired"

PARTS: dict[str, tuple[Part, str, bool]] = {
    "query": (ask_query, SERIES, False),
    "services": (ask_services, "services", False),
    "alerts": (ask_alerts, ALERTS, True),
    "rules": (ask_rules, ALERTS, True),
    "build": (ask_build, "the parameters and limits of its kind", True),
}
"""Name -> how it is asked, what it enables, whether a deployment may do without."""
