"""The lists in which Datadog's emulator has services: APM, the software catalog, definitions, a metric's tags."""

from uuid import NAMESPACE_URL, uuid5

from starlette.requests import Request

from telemetry_mcp.demo.datadog_metric import METRICS, tag_list, tags
from telemetry_mcp.demo.datadog_wire import Document, Refused, rfc3339, whole
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.topology import ENVIRONMENT, Member

_PAGE = 100
_RELATION = "RelationTypeDependsOn"


class Services:
    def __init__(self, estate: Estate) -> None:
        self._members = list(estate.members.values())
        self._born = rfc3339(estate.start_ms)

    def apm(self, request: Request) -> Document:
        if "filter[env]" not in request.query_params:
            raise Refused(400, "Missing required param: filter[env]")
        known = request.query_params["filter[env]"] in (ENVIRONMENT, "*")
        traced = [member.name for member in self._members if member.kind == "app" and known]
        flags = [{"isTraced": True, "isUsm": False} for _ in traced]
        attributes = {"services": traced, "metadata": flags}
        return {"data": {"id": "services", "type": "services_list", "attributes": attributes}}

    def catalog(self, request: Request) -> Document:
        kind = request.query_params.get("filter[kind]", "service")
        entities = [self._entity(member) for member in self._members if kind == "service"]
        return _page(request, "/api/v2/catalog/entity", entities)

    def relations(self, request: Request) -> Document:
        """Who calls whom; the inverse of the relation is not kept."""
        wanted = request.query_params.get("filter[type]", _RELATION)
        pairs = [(member.name, callee) for member in self._members for callee in member.calls]
        found = [self._relation(*pair) for pair in pairs if wanted == _RELATION]
        return _page(request, "/api/v2/catalog/relation", found)

    def definitions(self, request: Request) -> Document:
        size = whole(request, "page[size]", 10)
        start = whole(request, "page[number]", 0) * size
        return {"data": [_definition(member) for member in self._members[start : start + size]]}

    def tags(self, request: Request) -> Document:
        metric, match = request.path_params["metric"], request.query_params.get("filter[match]", "")
        if metric not in METRICS:
            raise Refused(404, f"Metric {metric} not found")
        given = dict.fromkeys(tag for member in self._members for tag in tag_list(member) if match in tag)
        return {"data": {"type": "metrics", "id": metric, "attributes": {"tags": list(given)}}}

    def _entity(self, member: Member) -> Document:
        attributes = {
            "apiVersion": "v3",
            "kind": "service",
            "namespace": "default",
            "owner": member.team,
            "name": member.name,
            "displayName": member.name,
            "tags": tag_list(member),
        }
        return {"id": _uuid(member), "type": "entity", "attributes": attributes, "meta": self._meta("api")}

    def _relation(self, caller: str, callee: str) -> Document:
        ends = [{"kind": "service", "name": name, "namespace": "default"} for name in (caller, callee)]
        attributes = {"from": ends[0], "to": ends[1], "type": _RELATION}
        identity = f"service:default/{caller}:{_RELATION}:service:default/{callee}"
        return {"id": identity, "type": "relation", "attributes": attributes, "meta": self._meta("discovered")}

    def _meta(self, source: str) -> Document:
        return {"createdAt": self._born, "modifiedAt": self._born, "ingestionSource": source, "origin": "unknown"}


def _definition(member: Member) -> Document:
    schema = {
        "schema-version": "v2.2",
        "dd-service": member.name,
        "team": member.team,
        "tier": tags(member)["tier"],
        "languages": [member.language],
        "tags": tag_list(member),
    }
    meta = {"ingestion-source": "api", "origin": "unknown", "warnings": []}
    attributes = {"meta": meta, "schema": schema}
    return {"type": "service-definition", "id": _uuid(member).replace("-", ""), "attributes": attributes}


def _page(request: Request, path: str, rows: list[Document]) -> Document:
    offset = whole(request, "page[offset]", 0)
    limit = min(whole(request, "page[limit]", _PAGE), _PAGE)
    shown = rows[offset : offset + limit]
    address = f"{path}?page%5Blimit%5D={limit}&page%5Boffset%5D="
    links = {"self": f"{address}{offset}"}
    if len(shown) == limit:
        links["next"] = f"{address}{offset + limit}"
    return {"data": shown, "meta": {"count": len(shown), "includeCount": 0}, "links": links}


def _uuid(member: Member) -> str:
    return str(uuid5(NAMESPACE_URL, f"service:{member.name}"))
