"""Incidents as the PagerDuty emulator gives them, with their alerts, log entries, notes and relatives."""

from collections.abc import Callable

from starlette.requests import Request

from telemetry_mcp.demo.estate import Estate, Incident
from telemetry_mcp.demo.fault_plan import DAY_MS, MINUTE_MS
from telemetry_mcp.demo.pagerduty_change import Changes
from telemetry_mcp.demo.pagerduty_wire import (
    Document,
    Refused,
    incident_id,
    incident_reference,
    iso,
    page,
    policy_reference,
    reference,
    routing_key,
    service_reference,
    user_reference,
    window,
)

_COLORS = {"P1": "a8171c", "P2": "eb6016", "P3": "f9b406"}
_NOTE_AFTER_MS = 3 * MINUTE_MS


class Incidents:
    """The endpoints below /incidents. Nothing later than `clock` says is known yet."""

    def __init__(self, estate: Estate, clock: Callable[[], int]) -> None:
        self._estate = estate
        self._clock = clock
        self._changes = Changes(estate, clock)

    def all(self, request: Request) -> Document:
        asked = request.query_params
        wanted = [self._document(incident) for incident in self._estate.incidents(*window(request, self._clock()))]
        for name, key in (("statuses[]", "status"), ("urgencies[]", "urgency")):
            if let := asked.getlist(name):
                wanted = [document for document in wanted if document[key] in let]
        if ids := asked.getlist("service_ids[]"):
            wanted = [document for document in wanted if document["service"]["id"] in ids]
        field, _, direction = asked.get("sort_by", "created_at").partition(":")
        wanted.sort(key=lambda document: document[field] or "", reverse=direction == "desc")
        return page(request, "incidents", wanted)

    def one(self, request: Request) -> Document:
        return {"incident": self._document(self._found(request))}

    def alerts(self, request: Request) -> Document:
        incident = self._found(request)
        document = self._document(incident)
        details = {"fault": incident.fault_id, "check": incident.title}
        sender = {"routing_key": routing_key(incident.service), "client": "demo monitor"}
        alert = {
            **reference("alert", f"alert-{incident.id}", incident.title),
            "type": "alert",
            "created_at": document["created_at"],
            "alert_key": incident.id,
            "status": "resolved" if document["status"] == "resolved" else "triggered",
            "severity": "critical" if incident.urgency == "high" else "warning",
            "suppressed": False,
            "service": document["service"],
            "incident": incident_reference(incident),
            "body": {"type": "alert_body", "details": details, "contexts": [], "cef_details": sender},
        }
        return page(request, "alerts", [alert])

    def log_entries(self, request: Request) -> Document:
        return page(request, "log_entries", self._log(self._found(request)))

    def notes(self, request: Request) -> Document:
        """One, of what it began with, a while after the acknowledgement; none where nobody knows."""
        incident = self._found(request)
        at_ms = incident.acknowledged_ms + _NOTE_AFTER_MS
        if incident.cause is None or at_ms > self._clock():
            return {"notes": []}
        note = {
            "id": reference("note", incident.id, "")["id"],
            "user": self._assignee(incident),
            "channel": {"summary": "The PagerDuty website or APIs"},
            "content": f"Looks like this began with: {incident.cause.title}",
            "created_at": iso(at_ms),
        }
        return {"notes": [note]}

    def related_change_events(self, request: Request) -> Document:
        """The changes of the service and its cause's in the day before, its cause first.

        Without a known cause: those of the service and of what it calls, its own newest one first.
        """
        incident = self._found(request)
        changes = self._estate.changes(incident.created_ms - DAY_MS, incident.created_ms)
        near = {incident.service, *self._estate.members[incident.service].calls}
        if incident.cause:
            near = {incident.service, incident.cause.service}
        ours = [change for change in changes if change.service in near]
        first = incident.cause or next((one for one in ours[::-1] if one.service == incident.service), None)
        events = [
            {
                **self._changes.document(change),
                "correlation_reason": {"reason": "most_recent" if change == first else "related_service"},
            }
            for change in sorted(ours, key=lambda change: (change != first, -change.time_ms))
        ]
        return {"change_events": events, "limit": None, "offset": None, "total": None, "more": None}

    def past(self, request: Request) -> Document:
        """The earlier incidents of the same service, those with an equal symptom first as they are most alike."""
        incident = self._found(request)
        limit = int(request.query_params.get("limit", 5))
        if not 5 <= limit <= 999:
            raise Refused(400, 2001, "Invalid Input Provided", "Limit must be between 5 and 999")
        earlier = [
            other
            for other in reversed(self._so_far())
            if other.service == incident.service and other.created_ms < incident.created_ms
        ]
        earlier.sort(key=lambda other: _symptom(other) != _symptom(incident))
        alike = [
            {"incident": _brief(other), "score": 90.0 if _symptom(other) == _symptom(incident) else 46.8249}
            for other in earlier
        ]
        return {"past_incidents": alike[:limit], "total": len(alike), "limit": limit}

    def related(self, request: Request) -> Document:
        """The other incidents that the same fault has caused."""
        incident = self._found(request)
        why = {"type": "service_dependency", "metadata": {"dependent_services": [], "supporting_services": []}}
        others = [
            {"incident": _brief(other), "relationships": [why]}
            for other in self._so_far()
            if other.fault_id == incident.fault_id and other.id != incident.id
        ]
        return {"related_incidents": others}

    def _so_far(self) -> list[Incident]:
        return self._estate.incidents(0, self._clock() + 1)

    def _found(self, request: Request) -> Incident:
        wanted = request.path_params["id"]
        for incident in self._so_far():
            if wanted in (incident_id(incident.id), str(incident.number)):
                return incident
        raise Refused(404, 2100, "Not Found")

    def _assignee(self, incident: Incident) -> Document:
        return user_reference(self._estate.members[incident.service].team)

    def _log(self, incident: Incident) -> list[Document]:
        service = service_reference(self._estate.members[incident.service])
        steps = [
            ("trigger", incident.created_ms, "Triggered through the API.", service),
            ("acknowledge", incident.acknowledged_ms, f"Acknowledged by {incident.assignee}.", None),
            ("resolve", incident.resolved_ms, "Resolved through the API.", service),
        ]
        return [
            {
                **reference("log_entry", f"{step}-{incident.id}", summary),
                "type": f"{step}_log_entry",
                "created_at": iso(time_ms),
                "channel": {"type": "api"},
                "agent": agent or self._assignee(incident),
                "service": service,
                "incident": incident_reference(incident),
                "teams": [],
            }
            for step, time_ms, summary, agent in reversed(steps)
            if time_ms is not None and time_ms <= self._clock()
        ]

    def _document(self, incident: Incident) -> Document:
        status = incident.status(self._clock())
        member = self._estate.members[incident.service]
        steps = {"acknowledged": incident.acknowledged_ms, "resolved": incident.resolved_ms}
        changed = iso(steps.get(status) or incident.created_ms)
        created = iso(incident.created_ms)
        assignee = self._assignee(incident)
        taken = [{"at": iso(incident.acknowledged_ms), "acknowledger": assignee}]
        alerts = {"all": 1, "triggered": int(status != "resolved"), "resolved": int(status == "resolved")}
        return {
            **incident_reference(incident),
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
            "service": service_reference(member),
            "assignments": [] if status == "resolved" else [{"at": created, "assignee": assignee}],
            "assigned_via": "escalation_policy",
            "acknowledgements": taken if status == "acknowledged" else [],
            "first_trigger_log_entry": {
                **reference("log_entry", f"trigger-{incident.id}", "Triggered through the API."),
                "type": "trigger_log_entry_reference",
            },
            "alert_counts": alerts,
            "is_mergeable": status != "resolved",
            "escalation_policy": policy_reference(member.team),
            "teams": [reference("team", member.team, member.team)],
            "pending_actions": [],
            "basic_alert_grouping": None,
            "alert_grouping": None,
            "last_status_change_by": assignee if status == "acknowledged" else service_reference(member),
            "priority": _priority(incident.priority),
            "urgency": incident.urgency,
        }


def _symptom(incident: Incident) -> str:
    """The title without the limit that was passed."""
    return incident.title.partition(" above ")[0]


def _brief(incident: Incident) -> Document:
    """All that is told of an incident where it only stands in relation to another one."""
    whole = incident_reference(incident)
    created = iso(incident.created_ms)
    return {"id": whole["id"], "created_at": created, "self": whole["self"], "title": incident.title}


def _priority(name: str) -> Document:
    return {
        **reference("priority", name, name),
        "type": "priority",
        "name": name,
        "html_url": None,
        "color": _COLORS[name],
        "description": "",
    }
