"""An emulator of the PagerDuty REST API v2 over the simulated estate's incidents and changes.

The key goes in `Authorization: Token token=...`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry_mcp.demo import noise
from telemetry_mcp.demo.estate import Estate, Incident
from telemetry_mcp.demo.fault import Fault, Faults
from telemetry_mcp.demo.fault_plan import DAY_MS, Change
from telemetry_mcp.demo.topology import PEOPLE, Member
from telemetry_mcp.demo.wire import answer, emulator

API_KEY = "demo-pagerduty-api-key"
LIMITED = Fault(
    "rate_limit",
    body=b'{"error":{"message":"Rate Limit Exceeded","code":2020}}',
    headers={"ratelimit-limit": "960", "ratelimit-remaining": "0", "ratelimit-reset": "11"},
)

_SITE = "https://demo.pagerduty.com"
_API = "https://api.pagerduty.com"
_MONTH_MS = 30 * DAY_MS
_COLORS = {"P1": "a8171c", "P2": "eb6016", "P3": "f9b406"}
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Document = dict[str, Any]


class Refused(Exception):
    """A status with PagerDuty's own code, message and details."""

    def __init__(self, status: int, code: int, message: str, *details: str) -> None:
        super().__init__(message)
        self.status = status
        self.document = {"error": {"code": code, "message": message, "errors": list(details)}}


def app(estate: Estate, clock: Callable[[], int], faults: Faults) -> Starlette:
    """The API of one account; `clock` gives epoch ms, and nothing that happens later than it is known yet."""
    vendor = _PagerDuty(estate, clock)
    routes = [
        Route("/incidents", _guarded(vendor.incidents)),
        Route("/incidents/{id}", _guarded(vendor.incident)),
        Route("/incidents/{id}/alerts", _guarded(vendor.alerts)),
        Route("/incidents/{id}/log_entries", _guarded(vendor.log_entries)),
        Route("/services", _guarded(vendor.services)),
        Route("/oncalls", _guarded(vendor.oncalls)),
        Route("/change_events", _guarded(vendor.change_events)),
        Route("/abilities", _guarded(lambda request: {"abilities": ["teams", "urgencies", "priorities"]})),
        Route("/users/me", _guarded(lambda request: {"user": _user("edge")})),
    ]
    return emulator(routes, faults, {404: _not_found})


def _guarded(handler: Callable[[Request], Document]) -> Callable[[Request], Any]:
    """An endpoint behind the key, with the rate limit's headers."""
    left = 960

    async def endpoint(request: Request) -> Response:
        nonlocal left
        left = left - 1 if left else 959
        headers = {"ratelimit-limit": "960", "ratelimit-remaining": str(left), "ratelimit-reset": "30"}
        if request.headers.get("authorization") != f"Token token={API_KEY}":
            return answer(Refused(401, 2006, "Invalid token or key").document, 401)
        try:
            return answer(handler(request), headers=headers)
        except Refused as refused:
            return answer(refused.document, refused.status, headers)

    return endpoint


async def _not_found(request: Request, error: Exception) -> Response:
    return answer(Refused(404, 2100, "Not Found").document, 404)


class _PagerDuty:
    def __init__(self, estate: Estate, clock: Callable[[], int]) -> None:
        self._estate = estate
        self._clock = clock

    def incidents(self, request: Request) -> Document:
        asked = request.query_params
        wanted = [self._document(incident) for incident in self._between(request)]
        for name, key in (("statuses[]", "status"), ("urgencies[]", "urgency")):
            if let := asked.getlist(name):
                wanted = [document for document in wanted if document[key] in let]
        if ids := asked.getlist("service_ids[]"):
            wanted = [document for document in wanted if document["service"]["id"] in ids]
        newest_first = "desc" in asked.get("sort_by", "")
        return _page(request, "incidents", wanted[::-1] if newest_first else wanted)

    def incident(self, request: Request) -> Document:
        return {"incident": self._document(self._found(request))}

    def alerts(self, request: Request) -> Document:
        incident = self._found(request)
        document = self._document(incident)
        alert = {
            **_reference("alert", f"alert-{incident.id}", incident.title),
            "type": "alert",
            "created_at": document["created_at"],
            "alert_key": incident.id,
            "status": "resolved" if document["status"] == "resolved" else "triggered",
            "severity": "critical" if incident.urgency == "high" else "warning",
            "suppressed": False,
            "service": document["service"],
            "incident": _incident_reference(incident),
            "body": {"type": "alert_body", "details": {"fault": incident.fault_id, "check": incident.title}},
        }
        return _page(request, "alerts", [alert])

    def log_entries(self, request: Request) -> Document:
        incident = self._found(request)
        service = _service_reference(self._estate.members[incident.service])
        steps = [
            ("trigger", incident.created_ms, "Triggered through the API.", service),
            ("acknowledge", incident.acknowledged_ms, f"Acknowledged by {incident.assignee}.", None),
            ("resolve", incident.resolved_ms, "Resolved through the API.", service),
        ]
        entries = [
            {
                **_reference("log_entry", f"{step}-{incident.id}", summary),
                "type": f"{step}_log_entry",
                "created_at": _iso(time_ms),
                "channel": {"type": "api"},
                "agent": agent or self._assignee(incident),
                "service": service,
                "incident": _incident_reference(incident),
                "teams": [],
            }
            for step, time_ms, summary, agent in reversed(steps)
            if time_ms is not None and time_ms <= self._clock()
        ]
        return _page(request, "log_entries", entries)

    def services(self, request: Request) -> Document:
        query = request.query_params.get("query", "").lower()
        members = [member for member in self._estate.members.values() if query in member.name]
        return _page(request, "services", [self._service(member) for member in members])

    def oncalls(self, request: Request) -> Document:
        start_ms = self._clock() // (7 * DAY_MS) * 7 * DAY_MS
        policies = request.query_params.getlist("escalation_policy_ids[]")
        entries = [
            {
                "escalation_policy": _policy(team),
                "escalation_level": 1,
                "user": _user(team),
                "schedule": _reference("schedule", team, f"{team} weekly"),
                "start": _iso(start_ms),
                "end": _iso(start_ms + 7 * DAY_MS),
            }
            for team in PEOPLE
            if not policies or _policy(team)["id"] in policies
        ]
        return _page(request, "oncalls", entries)

    def change_events(self, request: Request) -> Document:
        start_ms, end_ms = self._window(request)
        changes = self._estate.changes(start_ms, end_ms)
        return _page(request, "change_events", [self._change(change) for change in reversed(changes)])

    def _window(self, request: Request) -> tuple[int, int]:
        now_ms = self._clock()
        since, until = (request.query_params.get(name) for name in ("since", "until"))
        end_ms = _epoch_ms(until) if until else now_ms
        start_ms = _epoch_ms(since) if since else end_ms - _MONTH_MS
        if request.query_params.get("date_range") == "all":
            start_ms, end_ms = 0, now_ms
        elif start_ms > end_ms or end_ms - start_ms > 6 * 31 * DAY_MS:
            raise Refused(400, 2001, "Invalid Input Provided", "Since must be before Until, at most 6 months")
        return start_ms, min(end_ms, now_ms + 1)

    def _between(self, request: Request) -> list[Incident]:
        return self._estate.incidents(*self._window(request))

    def _found(self, request: Request) -> Incident:
        wanted = request.path_params["id"]
        for incident in self._estate.incidents(0, self._clock() + 1):
            if wanted in (_id("Q", incident.id, 14), str(incident.number)):
                return incident
        raise Refused(404, 2100, "Not Found")

    def _document(self, incident: Incident) -> Document:
        status = incident.status(self._clock())
        member = self._estate.members[incident.service]
        steps = {"acknowledged": incident.acknowledged_ms, "resolved": incident.resolved_ms}
        changed = _iso(steps.get(status) or incident.created_ms)
        created = _iso(incident.created_ms)
        assignee = self._assignee(incident)
        first = f"trigger-{incident.id}"
        alerts = {"all": 1, "triggered": int(status != "resolved"), "resolved": int(status == "resolved")}
        return {
            **_incident_reference(incident),
            "type": "incident",
            "incident_number": incident.number,
            "incident_key": incident.id,
            "title": incident.title,
            "description": incident.title,
            "status": status,
            "created_at": created,
            "updated_at": changed,
            "last_status_change_at": changed,
            "resolved_at": changed if status == "resolved" else None,
            "service": _service_reference(member),
            "assignments": [] if status == "resolved" else [{"at": created, "assignee": assignee}],
            "assigned_via": "escalation_policy",
            "acknowledgements": [{"at": _iso(incident.acknowledged_ms), "acknowledger": assignee}]
            if status == "acknowledged"
            else [],
            "first_trigger_log_entry": {
                **_reference("log_entry", first, "Triggered through the API."),
                "type": "trigger_log_entry_reference",
            },
            "alert_counts": alerts,
            "is_mergeable": status != "resolved",
            "escalation_policy": _policy(member.team),
            "teams": [_reference("team", member.team, member.team)],
            "pending_actions": [],
            "basic_alert_grouping": None,
            "alert_grouping": None,
            "last_status_change_by": assignee if status == "acknowledged" else _service_reference(member),
            "priority": _priority(incident.priority),
            "urgency": incident.urgency,
        }

    def _assignee(self, incident: Incident) -> Document:
        team = self._estate.members[incident.service].team
        return _reference("user", PEOPLE[team].email, PEOPLE[team].name)

    def _service(self, member: Member) -> Document:
        now_ms = self._clock()
        mine = [i for i in self._estate.incidents(0, now_ms + 1) if i.service == member.name]
        states = {incident.status(now_ms) for incident in mine}
        status = "critical" if "triggered" in states else "warning" if "acknowledged" in states else "active"
        return {
            **_service_reference(member),
            "type": "service",
            "name": member.name,
            "status": status,
            "description": f"{member.language} {member.kind}, tier {member.tier}",
            "created_at": _iso(self._estate.start_ms),
            "teams": [_reference("team", member.team, member.team)],
            "escalation_policy": _policy(member.team),
            "last_incident_timestamp": _iso(mine[-1].created_ms) if mine else None,
            "alert_creation": "create_alerts_and_incidents",
            "integrations": [],
            "addons": [],
            "acknowledgement_timeout": None,
            "auto_resolve_timeout": None,
            "support_hours": None,
            "incident_urgency_rule": {"type": "constant", "urgency": "high"},
        }

    def _change(self, change: Change) -> Document:
        member = self._estate.members[change.service]
        details = {"author": change.author, "kind": change.kind, "service": change.service}
        return {
            "id": _id("01", change.id, 24),
            "type": "change_event",
            "summary": change.title,
            "timestamp": _iso(change.time_ms),
            "source": "deploy-pipeline",
            "services": [_service_reference(member)],
            "integration": _reference("inbound_integration", change.service, "Deploy pipeline"),
            "routing_key": _id("R", f"routing-{change.service}", 31),
            "links": [],
            "images": [],
            "custom_details": {**details, "version": change.version} if change.version else details,
        }


def _page(request: Request, name: str, entries: list[Document]) -> Document:
    """The part of `entries` that limit and offset ask for, in the classic envelope."""
    limit = min(int(request.query_params.get("limit", 25)), 100)
    offset = int(request.query_params.get("offset", 0))
    if offset + limit > 10_000:
        raise Refused(400, 2001, "Invalid Input Provided", "Offset plus limit is more than 10000")
    total = len(entries) if request.query_params.get("total") == "true" else None
    return {
        name: entries[offset : offset + limit],
        "limit": limit,
        "offset": offset,
        "total": total,
        "more": offset + limit < len(entries),
    }


def _reference(kind: str, key: str, summary: str) -> Document:
    number = _id("Q", key, 14) if kind == "incident" else _id("P", f"{kind}-{key}", 7)
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    folder = "service-directory" if kind == "service" else plural
    return {
        "id": number,
        "type": f"{kind}_reference",
        "summary": summary,
        "self": f"{_API}/{plural}/{number}",
        "html_url": f"{_SITE}/{folder}/{number}",
    }


def _service_reference(member: Member) -> Document:
    return _reference("service", member.name, member.name)


def _incident_reference(incident: Incident) -> Document:
    return _reference("incident", incident.id, f"[#{incident.number}] {incident.title}")


def _policy(team: str) -> Document:
    return _reference("escalation_policy", team, f"{team} on call")


def _user(team: str) -> Document:
    person = PEOPLE[team]
    return {
        **_reference("user", person.email, person.name),
        "type": "user",
        "name": person.name,
        "email": person.email,
        "time_zone": "Etc/UTC",
        "role": "user",
    }


def _priority(name: str) -> Document:
    return {
        **_reference("priority", name, name),
        "type": "priority",
        "name": name,
        "html_url": None,
        "color": _COLORS[name],
        "description": "",
    }


def _id(prefix: str, key: str, length: int) -> str:
    """An id in the manner of the vendor, the same for the same key."""
    number = noise.salt("pagerduty", key) * noise.salt("pagerduty more", key)
    digits = ""
    while len(digits) < length - len(prefix):
        number, digit = divmod(number, len(_DIGITS))
        digits += _DIGITS[digit]
    return prefix + digits


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _epoch_ms(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, 2004, "Invalid Input Provided", f"Date is not readable: {text}") from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
