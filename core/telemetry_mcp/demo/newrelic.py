"""An emulator of New Relic's NerdGraph over the simulated estate: the five applications, not what keeps state.

One POST route; the key goes in Api-Key. Answers are 200 also when they are errors, as the vendor's are.
"""

import base64
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry_mcp.demo import noise, nrql
from telemetry_mcp.demo.estate import Estate, Incident
from telemetry_mcp.demo.fault import Fault, Faults
from telemetry_mcp.demo.topology import ENVIRONMENT, PEOPLE, Member
from telemetry_mcp.demo.wire import answer, emulator

API_KEY = "demo-newrelic-api-key"
ACCOUNT_ID = 1234567
LIMITED = Fault(
    "status",
    code=200,
    body=b'{"errors":[{"message":"Too many requests","extensions":{"errorClass":"TOO_MANY_REQUESTS"}}]}',
)

_ISSUE_WINDOW_MS = 7 * 86_400_000
_PERCENTILES = {"50": "latency_p50", "95": "latency_p95", "99": "latency_p99"}
_PRIORITY = {"P1": "CRITICAL", "P2": "HIGH", "P3": "MEDIUM"}

Row = dict[str, object]
Document = dict[str, Any]


def app(estate: Estate, clock: Callable[[], int], faults: Faults) -> Starlette:
    """The GraphQL endpoint, at /graphql, and at / for who takes the address as it is; `clock` gives epoch ms."""
    vendor = _NerdGraph(estate, clock)
    return emulator([Route(path, vendor.post, methods=["POST"]) for path in ("/graphql", "/")], faults)


class _NerdGraph:
    def __init__(self, estate: Estate, clock: Callable[[], int]) -> None:
        self._estate = estate
        self._clock = clock
        self._apps = [member for member in estate.members.values() if member.kind == "app"]

    async def post(self, request: Request) -> Response:
        if request.headers.get("api-key") != API_KEY:
            return answer(
                {"errors": [_error("Api key is invalid.", "ACCESS_DENIED", error_code="BAD_API_KEY")]}, 401
            )
        try:
            asked = orjson.loads(await request.body())
            query, variables = str(asked["query"]), asked.get("variables") or {}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return answer({"errors": [{"message": "Invalid JSON in the body, or no query in it"}]}, 400)
        return answer(self._answer(query, variables))

    def _answer(self, query: str, variables: Document) -> Document:
        if query.count("{") != query.count("}") or "actor" not in query:
            return {"errors": [{"message": "syntax error before: ''", "locations": [{"line": 1, "column": 1}]}]}
        actor: Document = {}
        errors: list[Document] = []
        if re.search(r"\buser\b", query):
            actor["user"] = {"name": PEOPLE["edge"].name, "email": PEOPLE["edge"].email}
        if "entitySearch" in query:
            actor["entitySearch"] = self._entity_search(query, variables)
        if re.search(r"\baccount\s*\(", query):
            actor["account"], errors = self._account(query, variables)
        if not actor:
            return {"errors": [{"message": "Cannot query these fields in this emulator"}]}
        document: Document = {"data": {"actor": actor}}
        return {**document, "errors": errors} if errors else document

    def _account(self, query: str, variables: Document) -> tuple[Document | None, list[Document]]:
        numbers = [value for value in variables.values() if isinstance(value, int)]
        numbers += [int(text) for text in re.findall(r"account\s*\(\s*id\s*:\s*(\d+)", query)]
        if ACCOUNT_ID not in numbers:
            denied = _error("Access denied.", "ACCESS_DENIED", path=["actor", "account"])
            return None, [denied]
        account: Document = {"id": ACCOUNT_ID, "name": "demo"}
        if "aiIssues" in query:
            account["aiIssues"] = {"issues": {"issues": self._issues(), "nextCursor": None}}
        if not re.search(r"\bnrql\s*\(", query):
            return account, []
        texts = [value for value in variables.values() if isinstance(value, str) and "FROM" in value.upper()]
        try:
            account["nrql"] = self._nrql(nrql.parse(texts[0] if texts else ""), texts[0] if texts else "")
        except nrql.NrqlError as error:
            account["nrql"] = None
            path = ["actor", "account", "nrql"]
            return account, [_error(str(error), "SERVER_ERROR", path=path, errorCode=error.code)]
        return account, []

    def _nrql(self, query: nrql.Query, text: str) -> Document:
        begins, width_ms = _buckets(query)
        facets = [app for app in self._apps if query.names is None or app.name in query.names]
        groups = [[app] for app in facets[: query.limit]] if query.facet else [facets]
        rows: list[Row] = []
        for group in groups:
            head: Row = {"facet": group[0].name, "appName": group[0].name} if query.facet else {}
            rows += [{**head, **row} for row in self._rows(query, group, begins, width_ms)]
        series_total: Any = [] if query.bucket_s else {}
        total = series_total if query.facet else None
        window = {
            "begin": query.since_ms,
            "end": query.until_ms,
            "compareWith": None,
            "since": str(query.since_ms),
            "until": str(query.until_ms),
        }
        return {
            "results": rows,
            "totalResult": total,
            "otherResult": total,
            "nrql": text,
            "currentResults": None,
            "previousResults": None,
            "metadata": {
                "eventTypes": ["Transaction"],
                "facets": ["appName"] if query.facet else None,
                "messages": [],
                "timeWindow": window,
            },
        }

    def _rows(self, query: nrql.Query, group: list[Member], begins: NDArray[np.int64], width_ms: int) -> list[Row]:
        known = (begins + width_ms > self._estate.start_ms) & (begins < self._clock())
        columns = {}
        for column in query.columns:
            values = _Measures(self._estate, group, begins[known], width_ms).column(column)
            columns[column.key] = _with_gaps(values, known, 0 if column.measure in ("count", "good") else None)
        rows: list[Row] = [
            dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
        ]
        if query.bucket_s is None:
            return rows
        ends = np.minimum(begins + width_ms, query.until_ms) // 1000
        times = zip((begins // 1000).tolist(), ends.tolist(), rows, strict=True)
        return [{"beginTimeSeconds": begin, "endTimeSeconds": end, **row} for begin, end, row in times]

    def _entity_search(self, query: str, variables: Document) -> Document:
        said = " ".join([query, *(value for value in variables.values() if isinstance(value, str))])
        named = re.findall(r"name\s*(?:=|LIKE)\s*\\?['\"]%?([^'\"%\\]+)", said, re.IGNORECASE)
        entities = [self._entity(app) for app in self._apps if not named or app.name in named]
        return {"count": len(entities), "results": {"nextCursor": None, "entities": entities}}

    def _entity(self, member: Member) -> Document:
        errors = float(self._estate.values(member.name, "error_rate", np.array([self._clock()]))[0])
        tags = {
            "team": member.team,
            "environment": ENVIRONMENT,
            "tier": str(member.tier),
            "language": member.language,
            "accountId": str(ACCOUNT_ID),
        }
        return {
            "guid": _guid(member),
            "name": member.name,
            "accountId": ACCOUNT_ID,
            "domain": "APM",
            "type": "APPLICATION",
            "entityType": "APM_APPLICATION_ENTITY",
            "reporting": True,
            "alertSeverity": "CRITICAL" if errors > 5 else "WARNING" if errors > 1 else "NOT_ALERTING",
            "permalink": f"https://one.newrelic.com/redirect/entity/{_guid(member)}",
            "language": member.language,
            "tags": [{"key": key, "values": [value]} for key, value in tags.items()],
        }

    def _issues(self) -> list[Document]:
        now_ms = self._clock()
        opened = self._estate.incidents(now_ms - _ISSUE_WINDOW_MS, now_ms)
        return [self._issue(incident, now_ms) for incident in reversed(opened) if self._has(incident.service)]

    def _has(self, service: str) -> bool:
        return any(app.name == service for app in self._apps)

    def _issue(self, incident: Incident, now_ms: int) -> Document:
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
            "entityGuids": [_guid(self._estate.members[incident.service])],
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


class _Measures:
    """The columns of NRQL over the intervals [begin, begin + width), of one application or several together."""

    def __init__(self, estate: Estate, group: list[Member], begins: NDArray[np.int64], width_ms: int) -> None:
        self._width_s = width_ms / 1000
        self._begins = begins
        self._width_ms = width_ms
        self._estate = estate
        self._group = group
        self._rates = self._average("request_rate")

    def column(self, column: nrql.Column) -> list[Any]:
        """One value for each interval, of the type the vendor gives it."""
        if column.measure == "percentile":
            found = [self._mean(_PERCENTILES.get(name, "latency_p95")) / 1000 for name in column.percentiles]
            return [dict(zip(column.percentiles, row, strict=True)) for row in np.stack(found, axis=1).tolist()]
        total = self._rates.sum(axis=0)
        if column.measure == "throughput":
            return list((total * 60).tolist())
        if column.measure == "count":
            return list(np.round(total * self._width_s).astype(np.int64).tolist())
        if column.measure == "good":
            good = total * self._width_s * self._mean("availability") / 100
            return list(np.round(good).astype(np.int64).tolist())
        if column.measure.startswith("average"):
            scale = 1 if column.measure == "average_ms" else 1000
            return list((self._mean("latency_p50") * 1.3 / scale).tolist())
        return list(self._mean(column.measure).tolist())

    def _average(self, metric: str) -> NDArray[np.float64]:
        """One row for each application."""
        rows = [self._estate.average(member.name, metric, self._begins, self._width_ms) for member in self._group]
        return np.array(rows).reshape(len(rows), len(self._begins))

    def _mean(self, metric: str) -> NDArray[np.float64]:
        """Weighted by requests, as counting transactions does it."""
        return np.asarray((self._average(metric) * self._rates).sum(axis=0) / self._rates.sum(axis=0))


def _buckets(query: nrql.Query) -> tuple[NDArray[np.int64], int]:
    if query.bucket_s is None:
        return np.array([query.since_ms], dtype=np.int64), max(1, query.until_ms - query.since_ms)
    since_ms = query.since_ms // 1000 * 1000
    return np.arange(since_ms, query.until_ms, query.bucket_s * 1000, dtype=np.int64), query.bucket_s * 1000


def _with_gaps(values: list[Any], known: NDArray[np.bool_], gap: object) -> list[Any]:
    left = iter(values)
    return [next(left) if here else gap for here in known.tolist()]


def _error(message: str, error_class: str, *, path: list[str] | None = None, **extensions: str) -> Document:
    return {
        "message": message,
        "path": path or [],
        "locations": [{"line": 1, "column": 2}],
        "extensions": {"errorClass": error_class, **extensions},
    }


def _guid(member: Member) -> str:
    number = noise.salt("entity", member.name) % 10**9
    return base64.b64encode(f"{ACCOUNT_ID}|APM|APPLICATION|{number}".encode()).decode().rstrip("=")
