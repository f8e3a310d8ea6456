"""Services, who is on call for them and what they depend on, as the PagerDuty emulator gives them."""

from collections.abc import Callable

from starlette.requests import Request

from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault_plan import DAY_MS
from telemetry_mcp.demo.pagerduty_wire import (
    Document,
    Refused,
    identity,
    iso,
    page,
    policy_reference,
    reference,
    service_reference,
    window,
)
from telemetry_mcp.demo.topology import PEOPLE, Member

_WEEK_MS = 7 * DAY_MS


class Services:
    """/services, /oncalls, /service_dependencies and /users/me. `clock` gives epoch ms."""

    def __init__(self, estate: Estate, clock: Callable[[], int]) -> None:
        self._estate = estate
        self._clock = clock

    def all(self, request: Request) -> Document:
        query = request.query_params.get("query", "").lower()
        members = [member for member in self._estate.members.values() if query in member.name]
        return page(request, "services", [self._document(member) for member in members])

    def one(self, request: Request) -> Document:
        return {"service": self._document(self._found(request))}

    def dependencies(self, request: Request) -> Document:
        """Every call to or from the service, as people would have drawn it."""
        name = self._found(request).name
        calls = [(member, other) for member in self._estate.members.values() for other in member.calls]
        return {
            "relationships": [self._edge(member, other) for member, other in calls if name in (member.name, other)]
        }

    def oncalls(self, request: Request) -> Document:
        """One person for each team: the first level changes weekly, the second one is permanent."""
        start_ms, end_ms = window(request, self._clock()) if "since" in request.query_params else (0, 0)
        first_ms = (start_ms or self._clock()) // _WEEK_MS * _WEEK_MS
        weeks = range(first_ms, max(end_ms, first_ms + 1), _WEEK_MS)
        policies = request.query_params.getlist("escalation_policy_ids[]")
        teams = [team for team in PEOPLE if not policies or policy_reference(team)["id"] in policies]
        expanded = "escalation_policies" in request.query_params.getlist("include[]")
        entries = [self._duty(team, expanded, week_ms) for team in teams for week_ms in weeks]
        lead = next(iter(PEOPLE))
        permanent = [{**self._duty(team, expanded, None), "user": _user(lead)} for team in teams]
        return page(request, "oncalls", entries + permanent)

    def me(self, request: Request) -> Document:
        return {"user": _user("edge")}

    def _found(self, request: Request) -> Member:
        for member in self._estate.members.values():
            if service_reference(member)["id"] == request.path_params["id"]:
                return member
        raise Refused(404, 2100, "Not Found")

    def _edge(self, member: Member, other: str) -> Document:
        caller, callee = service_reference(member), service_reference(self._estate.members[other])
        return {
            "id": identity("D", f"{member.name}-{other}", 19),
            "type": "service_dependency",
            "dependent_service": {"id": caller["id"], "type": "technical_service_reference"},
            "supporting_service": {"id": callee["id"], "type": "technical_service_reference"},
        }

    def _duty(self, team: str, expanded: bool, week_ms: int | None) -> Document:
        policy = policy_reference(team)
        if expanded:
            mine = [member for member in self._estate.members.values() if member.team == team]
            served = [service_reference(member) for member in mine]
            policy |= {"type": "escalation_policy", "name": policy["summary"], "services": served}
        return {
            "escalation_policy": policy,
            "escalation_level": 2 if week_ms is None else 1,
            "user": _user(team),
            "schedule": None if week_ms is None else reference("schedule", team, f"{team} weekly"),
            "start": None if week_ms is None else iso(week_ms),
            "end": None if week_ms is None else iso(week_ms + _WEEK_MS),
        }

    def _document(self, member: Member) -> Document:
        now_ms = self._clock()
        mine = [i for i in self._estate.incidents(0, now_ms + 1) if i.service == member.name]
        states = {incident.status(now_ms) for incident in mine}
        status = "critical" if "triggered" in states else "warning" if "acknowledged" in states else "active"
        return {
            **service_reference(member),
            "type": "service",
            "name": member.name,
            "status": status,
            "description": f"{member.language} {member.kind}, tier {member.tier}",
            "created_at": iso(self._estate.start_ms),
            "teams": [reference("team", member.team, member.team)],
            "escalation_policy": policy_reference(member.team),
            "last_incident_timestamp": iso(mine[-1].created_ms) if mine else None,
            "alert_creation": "create_alerts_and_incidents",
            "integrations": [],
            "addons": [],
            "acknowledgement_timeout": None,
            "auto_resolve_timeout": None,
            "support_hours": None,
            "incident_urgency_rule": {"type": "constant", "urgency": "high"},
        }


def _user(team: str) -> Document:
    person = PEOPLE[team]
    return {
        **reference("user", person.email, person.name),
        "type": "user",
        "name": person.name,
        "email": person.email,
        "time_zone": "Etc/UTC",
        "role": "user",
    }
