"""What happened, as Datadog's emulator tells it: incidents, firing monitors, change events and deployments."""

from uuid import NAMESPACE_URL, uuid5

from starlette.requests import Request

from telemetry_mcp.demo.datadog_metric import tag_list
from telemetry_mcp.demo.datadog_wire import SITE, Clock, Document, Refused, at, moment_ms, rfc3339, whole
from telemetry_mcp.demo.estate import Estate, Incident
from telemetry_mcp.demo.fault_plan import MINUTE_MS, Change
from telemetry_mcp.demo.topology import ENVIRONMENT

_DECLARED = {"P1": "SEV-1", "P2": "SEV-2"}
_STATES = {"triggered": "active", "acknowledged": "stable", "resolved": "resolved"}
_MONITOR = 41_000_000
_DEPLOY_MS = 90_000


class Events:
    def __init__(self, estate: Estate, clock: Clock) -> None:
        self._estate = estate
        self._clock = clock

    def incidents(self, request: Request) -> Document:
        """Newest first. Of the search language it understands `state:x` and `state:(x OR y)`."""
        query = request.query_params.get("query", "")
        now_ms = self._clock()
        known = [one for one in self._estate.incidents(0, now_ms) if one.priority in _DECLARED]
        matching = [one for one in known[::-1] if _STATES[one.status(now_ms)] in query]
        offset, size = whole(request, "page[offset]", 0), min(whole(request, "page[size]", 10), 100)
        shown = matching[offset : offset + size]
        rows = [{"data": _incident(one, now_ms)} for one in shown]
        facets = {"severity": [{"name": name, "count": len(rows)} for name in _DECLARED.values()]}
        attributes = {"total": len(matching), "facets": facets, "incidents": rows}
        # The real one gives a next offset on its last page too.
        pagination = {"offset": offset, "next_offset": offset + len(rows), "size": len(rows)}
        data = {"type": "incidents_search_results", "attributes": attributes}
        return {"data": data, "meta": {"pagination": pagination}}

    def monitor_groups(self, request: Request) -> Document:
        now_ms, size = self._clock(), whole(request, "per_page", 30)
        rows = [self._group(number, name, now_ms) for number, name in enumerate(self._estate.members)]
        if "group_status:alert" in request.query_params.get("query", ""):
            rows = [row for row in rows if row["status"] == "Alert"]
        place = whole(request, "page", 0)
        shown = rows[place * size : (place + 1) * size]
        metadata = {
            "total_count": len(rows),
            "page_count": -(-len(rows) // max(size, 1)),
            "page": place,
            "per_page": size,
        }
        counts = {"status": [], "muted": [{"count": len(rows), "name": False}], "tag": [], "type": []}
        return {"counts": counts, "groups": shown, "metadata": metadata}

    def _group(self, number: int, service: str, now_ms: int) -> Document:
        alarms = [
            (fault.start_ms + alarm.delay_min * MINUTE_MS, alarm)
            for fault in self._estate.faults(now_ms, now_ms + 1)
            for alarm in fault.alarms
            if alarm.service == service and fault.start_ms + alarm.delay_min * MINUTE_MS <= now_ms
        ]
        since_ms, alarm = alarms[-1] if alarms else (0, None)
        return {
            "status": "Alert" if alarm else "OK",
            "last_nodata_ts": 0,
            "env_tags": [f"env:{ENVIRONMENT}"],
            "all_tags": tag_list(self._estate.members[service]),
            "team_tags": [f"team:{self._estate.members[service].team}"],
            "monitor_name": alarm.title if alarm else f"{service}: error rate above 1 %",
            "last_triggered_ts": since_ms // 1000 or None,
            "group": f"service:{service}",
            "group_tags": [f"service:{service}"],
            "monitor_id": _MONITOR + number,
            "priority": int(alarm.priority[1:]) if alarm else None,
            "muted": False,
            "muted_until_ts": None,
            "muted_remaining": None,
            "downtimes": [],
        }

    def search(self, request: Request) -> Document:
        """Events of changes, newest first. The query is not looked at: there are no other events."""
        body = request.state.body
        changes = self._changes(at(body, "filter", "from"), at(body, "filter", "to"))[::-1]
        page = body.get("page") or {}
        limit, cursor = int(page.get("limit", 10)), str(page.get("cursor", "0"))
        if not cursor.isdigit():
            told = "input_validation_error(Field 'page' is invalid: invalid cursor)"
            raise Refused(400, f"{{'errors': [u\"{told}\"]}}")
        start = int(cursor)
        shown = changes[start : start + limit]
        if not shown:
            return {"data": []}
        after = str(start + len(shown))
        link = f"https://api.datadoghq.com/api/v2/events?page%5Bcursor%5D={after}"
        rows = [_event(change) for change in shown]
        return {"meta": {"page": {"after": after}}, "data": rows, "links": {"next": link}}

    def deployments(self, request: Request) -> Document:
        if at(request.state.body, "data").get("type") != "dora_deployments_list_request":
            raise Refused(400, 'got type "" expected one of "dora_deployments_list_request"')
        asked = at(request.state.body, "data", "attributes")
        changes = self._changes(at(asked, "from"), at(asked, "to"))[::-1]
        deployed = [_deployment(change, self._estate) for change in changes if change.kind == "deployment"]
        return {"data": deployed[: int(asked.get("limit", 500))]}

    def _changes(self, start: object, end: object) -> list[Change]:
        return self._estate.changes(moment_ms(start), min(moment_ms(end), self._clock()))


def _incident(one: Incident, now_ms: int) -> Document:
    state, severity = _STATES[one.status(now_ms)], _DECLARED[one.priority]
    resolved = one.resolved_ms if state == "resolved" else None
    dropdowns = {"state": state, "severity": severity, "detection_method": "monitor"}
    fields = {name: {"type": "dropdown", "value": value} for name, value in dropdowns.items()}
    attributes = {
        "public_id": one.number,
        "title": one.title,
        "created": rfc3339(one.created_ms),
        "detected": rfc3339(one.created_ms),
        "modified": rfc3339(resolved or one.created_ms),
        "resolved": None if resolved is None else rfc3339(resolved),
        "severity": severity,
        "state": state,
        "archived": None,
        "customer_impacted": False,
        "fields": {**fields, "services": {"type": "autocomplete", "value": [one.service]}},
    }
    return {"type": "incidents", "id": str(uuid5(NAMESPACE_URL, f"incident:{one.id}")), "attributes": attributes}


def _event(change: Change) -> Document:
    uid = uuid5(NAMESPACE_URL, f"event:{change.id}").hex
    kind = {"deployment": "deployment", "config": "configuration"}.get(change.kind, change.kind)
    inner = {
        "title": change.title,
        "service": change.service,
        "timestamp": change.time_ms,
        "status": "info",
        "author": {"name": change.author, "type": "user"},
        "changed_resource": {"name": change.service, "type": kind},
        "evt": {"id": str(int(uid[:15], 16)), "uid": uid, "category": "change", "type": "change"},
    }
    tags = [f"service:{change.service}", f"env:{ENVIRONMENT}"]
    tags += [f"version:{change.version}"] if change.version else []
    outer = {
        "attributes": inner,
        "message": f"{change.title}\n{SITE}/event/event?uid={uid}",
        "tags": tags,
        "timestamp": rfc3339(change.time_ms),
    }
    return {"id": uid, "type": "event", "attributes": outer}


def _deployment(change: Change, estate: Estate) -> Document:
    attributes = {
        "service": change.service,
        "started_at": rfc3339(change.time_ms),
        "finished_at": rfc3339(change.time_ms + _DEPLOY_MS),
        "env": ENVIRONMENT,
        "team": estate.members[change.service].team,
        "version": change.version,
    }
    return {"id": f"dora-{change.id}", "type": "dora_deployment", "attributes": attributes}
