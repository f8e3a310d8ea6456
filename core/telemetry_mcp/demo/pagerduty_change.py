"""Change events as the PagerDuty emulator gives them."""

from collections.abc import Callable

from starlette.requests import Request

from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault_plan import Change
from telemetry_mcp.demo.pagerduty_wire import (
    Document,
    Refused,
    identity,
    iso,
    page,
    reference,
    routing_key,
    service_reference,
    window,
)


class Changes:
    """/change_events and /services/{id}/change_events. Nothing later than `clock` says is known yet."""

    def __init__(self, estate: Estate, clock: Callable[[], int]) -> None:
        self._estate = estate
        self._clock = clock

    def all(self, request: Request) -> Document:
        return page(request, "change_events", [self.document(change) for change in self._between(request)])

    def of_service(self, request: Request) -> Document:
        names = {service_reference(member)["id"]: member.name for member in self._estate.members.values()}
        name = names.get(request.path_params["id"])
        if name is None:
            raise Refused(404, 2100, "Not Found")
        mine = [change for change in self._between(request) if change.service == name]
        return page(request, "change_events", [self.document(change) for change in mine])

    def _between(self, request: Request) -> list[Change]:
        """Newest first."""
        return self._estate.changes(*window(request, self._clock()))[::-1]

    def document(self, change: Change) -> Document:
        """As the vendor does, it gives away the key of the integration that sent the event."""
        member = self._estate.members[change.service]
        details = {"author": change.author, "kind": change.kind, "service": change.service}
        return {
            "id": identity("01", change.id, 24),
            "type": "change_event",
            "summary": change.title,
            "timestamp": iso(change.time_ms),
            "source": "deploy-pipeline",
            "services": [service_reference(member)],
            "integration": reference("inbound_integration", change.service, "Deploy pipeline"),
            "routing_key": routing_key(change.service),
            "links": [],
            "images": [],
            "custom_details": {**details, "version": change.version} if change.version else details,
        }
