"""An emulator of New Relic's NerdGraph over the simulated estate: the five applications, not what keeps state.

One POST route; the key goes in Api-Key. Answers are 200 also when they are errors, as the vendor's are. It sends
no rate headers, because the vendor sends none.
"""

from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry_mcp.demo import newrelic_graph, newrelic_measure, noise, nrql
from telemetry_mcp.demo.estate import Estate, Incident
from telemetry_mcp.demo.fault import Fault, Faults
from telemetry_mcp.demo.newrelic_entity import ACCOUNT_ID as ACCOUNT_ID
from telemetry_mcp.demo.newrelic_entity import APPS, Inventory, guid_of, start_of
from telemetry_mcp.demo.newrelic_graph import GraphError
from telemetry_mcp.demo.topology import PEOPLE
from telemetry_mcp.demo.wire import answer, emulator

API_KEY = "demo-newrelic-api-key"
LIMITED = Fault(
    "status",
    code=200,
    body=b'{"errors":[{"message":"Too many requests","extensions":{"errorClass":"TOO_MANY_REQUESTS"}}]}',
)

_ISSUE_WINDOW_MS = 7 * 86_400_000
_ISSUE_PAGE = 100
_PRIORITY = {"P1": "CRITICAL", "P2": "HIGH", "P3": "MEDIUM"}

Document = dict[str, Any]


def app(estate: Estate, clock: Callable[[], int], faults: Faults) -> Starlette:
    """The GraphQL endpoint, at /graphql, and at / for who takes the address as it is; `clock` gives epoch ms."""
    vendor = _NerdGraph(estate, clock)
    return emulator([Route(path, vendor.post, methods=["POST"]) for path in ("/graphql", "/")], faults)


class _NerdGraph:
    def __init__(self, estate: Estate, clock: Callable[[], int]) -> None:
        self._estate = estate
        self._clock = clock
        inventory = Inventory(estate, clock)
        self._root = {
            "actor": {
                "user": {"name": PEOPLE["edge"].name, "email": PEOPLE["edge"].email},
                "accounts": [{"id": ACCOUNT_ID, "name": "demo"}],
                "account": self._account,
                "entitySearch": inventory.search,
                "entities": inventory.of_guids,
            }
        }

    async def post(self, request: Request) -> Response:
        date = {"date": formatdate(self._clock() / 1000, usegmt=True)}
        if request.headers.get("api-key") != API_KEY:
            error = GraphError("Api key is invalid.", "ACCESS_DENIED", error_code="BAD_API_KEY")
            return answer({"errors": [error.told([])]}, 401, date)
        try:
            asked = orjson.loads(await request.body())
            query, variables = str(asked["query"]), asked.get("variables") or {}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return answer({"errors": [{"message": "Invalid JSON in the body, or no query in it"}]}, 400, date)
        return answer(newrelic_graph.answer(query, variables, self._root), headers=date)

    def _account(self, arguments: Mapping[str, Any]) -> Document:
        if arguments.get("id") != ACCOUNT_ID:
            raise GraphError("Access denied.", "ACCESS_DENIED")
        return {"id": ACCOUNT_ID, "name": "demo", "nrql": self._nrql, "aiIssues": {"issues": self._issues}}

    def _nrql(self, arguments: Mapping[str, Any]) -> Document:
        text, now_ms = str(arguments.get("query")), self._clock()
        try:
            return newrelic_measure.result(self._estate, nrql.parse(text, now_ms), text, now_ms)
        except nrql.NrqlError as error:
            raise GraphError(str(error), "SERVER_ERROR", errorCode=error.code) from error

    def _issues(self, arguments: Mapping[str, Any]) -> Document:
        now_ms = self._clock()
        times, states = arguments.get("timeWindow") or {}, (arguments.get("filter") or {}).get("states")
        since_ms, until_ms = times.get("startTime", now_ms - _ISSUE_WINDOW_MS), times.get("endTime", now_ms)
        opened = reversed(self._estate.incidents(since_ms, min(until_ms, now_ms)))
        found = [_issue(incident, now_ms) for incident in opened if incident.service in APPS]
        chosen = [issue for issue in found if not states or issue["state"] in states]
        start = start_of(arguments)
        more = start + _ISSUE_PAGE < len(chosen)
        return {
            "issues": chosen[start : start + _ISSUE_PAGE],
            "nextCursor": str(start + _ISSUE_PAGE) if more else None,
        }


def _issue(incident: Incident, now_ms: int) -> Document:
    status = incident.status(now_ms)
    return {
        "issueId": f"{noise.salt('issue', incident.id):032x}",
        "title": [incident.title],
        "description": [incident.title],
        "priority": _PRIORITY[incident.priority],
        "state": "CLOSED" if status == "resolved" else "ACTIVATED",
        "createdAt": incident.created_ms,
        "activatedAt": incident.created_ms,
        "acknowledgedAt": None if status == "triggered" else incident.acknowledged_ms,
        "closedAt": incident.resolved_ms if status == "resolved" else None,
        "updatedAt": incident.created_ms,
        "entityGuids": [guid_of(APPS[incident.service])],
        "entityNames": [incident.service],
        "conditionName": [incident.title],
        "policyName": ["Golden signals"],
        "incidentIds": [f"{noise.salt('violation', incident.id)}"],
        "totalIncidents": 1,
        "isIdle": False,
        "mutingState": "NOT_MUTED",
        "sources": ["newrelic"],
        "origins": ["violation"],
    }
