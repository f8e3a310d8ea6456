"""The entities that New Relic keeps of the simulated estate: applications, whom they call, and service levels."""

import base64
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from telemetry_mcp.demo import noise
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.topology import ENVIRONMENT, MEMBERS, Member

ACCOUNT_ID = 1234567
APPS: Mapping[str, Member] = {name: member for name, member in MEMBERS.items() if member.kind == "app"}
"""What New Relic's agents run in: nothing that keeps state."""
OTEL: Mapping[str, Member] = {"notification-service": MEMBERS["notification-service"]}
"""What reports by OpenTelemetry, too."""
TARGET, DAYS = 99.5, 7
_PAGE = 200
_TYPES = {"APPLICATION": "APM", "SERVICE": "EXT", "SERVICE_LEVEL": "EXT", "HOST": "INFRA"}
_CONDITION = re.compile(r"(\w+)\s*(?:=\s*('[^']*'|\d+)|IN\s*\(([^)]*)\)|LIKE\s*('[^']*'))", re.IGNORECASE)

Document = dict[str, Any]


def guid_of(member: Member, kind: str = "APPLICATION") -> str:
    """The guid of a member's entity of that type, as New Relic composes it."""
    number = noise.salt("entity" if kind == "APPLICATION" else kind, member.name) % 10**9
    return base64.b64encode(f"{ACCOUNT_ID}|{_TYPES[kind]}|{kind}|{number}".encode()).decode().rstrip("=")


class Inventory:
    """The entities as they are at `clock`."""

    def __init__(self, estate: Estate, clock: Callable[[], int]) -> None:
        self._estate = estate
        self._clock = clock

    def search(self, arguments: Mapping[str, Any]) -> Document:
        """`entitySearch(query)` of `actor`: conditions joined by AND."""
        wanted = conditions(str(arguments.get("query")))
        found = [entity for entity in self._all() if all(meets(entity, *one) for one in wanted.items())]

        def page(paged: Mapping[str, Any]) -> Document:
            start = start_of(paged)
            more = start + _PAGE < len(found)
            return {
                "nextCursor": str(start + _PAGE) if more else None,
                "entities": found[start : start + _PAGE],
            }

        return {"count": len(found), "results": page}

    def of_guids(self, arguments: Mapping[str, Any]) -> list[Document]:
        """`entities(guids)` of `actor`."""
        return [entity for entity in self._all() if entity["guid"] in (arguments.get("guids") or [])]

    def _all(self) -> list[Document]:
        return [
            *(self._service(app, "APPLICATION") for app in APPS.values()),
            *(self._service(service, "SERVICE") for service in OTEL.values()),
            *(self._level(app) for app in APPS.values()),
        ]

    def _service(self, member: Member, kind: str) -> Document:
        errors = float(self._estate.values(member.name, "error_rate", np.array([self._clock()]))[0])
        tags = {
            "team": member.team,
            "environment": ENVIRONMENT,
            "tier": str(member.tier),
            "language": member.language,
            "accountId": str(ACCOUNT_ID),
        }
        return {
            **entity(member, kind, member.name, tags),
            "entityType": "APM_APPLICATION_ENTITY" if kind == "APPLICATION" else "EXTERNAL_ENTITY",
            "alertSeverity": "CRITICAL" if errors > 5 else "WARNING" if errors > 1 else "NOT_ALERTING",
            "language": member.language,
            "relatedEntities": partial(related, member, kind),
            "serviceLevel": {"indicators": None},
        }

    def _level(self, member: Member) -> Document:
        guid = guid_of(member, "SERVICE_LEVEL")
        tags = {
            "category": "success",
            "nr.associatedEntityGuid": guid_of(member),
            "nr.associatedEntityName": member.name,
            "nr.sloTarget": f"{TARGET}%",
            "nr.sloPeriod": f"{DAYS}d",
        }
        nrql = (
            "SELECT clamp_max(sum(newrelic.sli.good) / sum(newrelic.sli.valid) * 100, 100) AS 'SLI' "
            f"FROM Metric WHERE entity.guid = '{guid}' UNTIL 2 minutes AGO"
        )
        indicator = {
            "id": str(noise.salt("indicator", member.name) % 10**6),
            "guid": guid,
            "name": f"{member.name} - Success",
            "description": "Proportion of requests that did not fail.",
            "objectives": [
                {
                    "name": None,
                    "target": TARGET,
                    "timeWindow": {"rolling": {"count": DAYS, "unit": "DAY"}},
                }
            ],
            "resultQueries": {"indicator": {"nrql": nrql}},
        }
        return {
            **entity(member, "SERVICE_LEVEL", f"{member.name} - Success", tags),
            "entityType": "EXTERNAL_ENTITY",
            "alertSeverity": "NOT_CONFIGURED",
            "relatedEntities": lambda asked: {"nextCursor": None, "results": []},
            "serviceLevel": {"indicators": [indicator]},
        }


def entity(member: Member, kind: str, name: str, tags: Mapping[str, str]) -> Document:
    """What all entities have."""
    guid = guid_of(member, kind)
    return {
        "__typename": "ApmApplicationEntityOutline" if kind == "APPLICATION" else "ExternalEntityOutline",
        "guid": guid,
        "name": name,
        "accountId": ACCOUNT_ID,
        "domain": _TYPES[kind],
        "type": kind,
        "reporting": True,
        "permalink": f"https://one.newrelic.com/redirect/entity/{guid}",
        "tags": [{"key": key, "values": [value]} for key, value in tags.items()],
    }


def related(member: Member, kind: str, arguments: Mapping[str, Any]) -> Document:
    """`relatedEntities(filter)` of a service: whom it calls, if that is asked for."""
    wanted = ((arguments.get("filter") or {}).get("relationshipTypes") or {}).get("include", ["CALLS"])
    source = {"guid": guid_of(member, kind), "name": member.name}
    edges = [
        {
            "type": "CALLS",
            "source": {"entity": source},
            "target": {"entity": {"guid": guid_of(MEMBERS[name]), "name": name}},
        }
        for name in (member.calls if "CALLS" in wanted else ())
    ]
    return {"nextCursor": None, "count": len(edges), "results": edges}


def start_of(arguments: Mapping[str, Any]) -> int:
    """Where the page of a cursor begins; one that is not ours is the first page's."""
    cursor = str(arguments.get("cursor"))
    return int(cursor) if cursor.isdigit() else 0


def conditions(text: str) -> dict[str, set[str]]:
    """The conditions of an entity search: attribute -> the values that it may have."""
    return {
        name: {value.strip(" '\"%") for value in (one or several or alike).split(",")}
        for name, one, several, alike in _CONDITION.findall(text)
    }


def meets(entity: Mapping[str, Any], name: str, wanted: set[str]) -> bool:
    value = entity.get(name)
    return (str(value).lower() if isinstance(value, bool) else str(value)) in wanted
