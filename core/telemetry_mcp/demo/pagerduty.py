"""An emulator of the PagerDuty REST API v2 over the simulated estate's incidents and changes.

The key goes in `Authorization: Token token=...`.
"""

from collections.abc import Awaitable, Callable
from email.utils import formatdate

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault import Fault, Faults
from telemetry_mcp.demo.pagerduty_change import Changes
from telemetry_mcp.demo.pagerduty_incident import Incidents
from telemetry_mcp.demo.pagerduty_service import Services
from telemetry_mcp.demo.pagerduty_wire import Document, Handler, Refused
from telemetry_mcp.demo.wire import answer, emulator

API_KEY = "demo-pagerduty-api-key"
LIMITED = Fault(
    "rate_limit",
    body=b'{"error":{"message":"Rate Limit Exceeded","code":2020}}',
    headers={"ratelimit-limit": "960", "ratelimit-remaining": "0", "ratelimit-reset": "11"},
)
_A_MINUTE = 960
_A_MINUTE_ON_CALL = 240
_ABILITIES = ("teams", "urgencies", "priorities", "past_incidents", "related_incidents", "service_dependencies")


def app(estate: Estate, clock: Callable[[], int], faults: Faults) -> Starlette:
    """The API of one account; `clock` gives epoch ms, and nothing that happens later than it is known yet."""
    incidents, services, changes = Incidents(estate, clock), Services(estate, clock), Changes(estate, clock)
    handlers: dict[str, Handler] = {
        "/incidents": incidents.all,
        "/incidents/{id}": incidents.one,
        "/incidents/{id}/alerts": incidents.alerts,
        "/incidents/{id}/log_entries": incidents.log_entries,
        "/incidents/{id}/notes": incidents.notes,
        "/incidents/{id}/related_change_events": incidents.related_change_events,
        "/incidents/{id}/past_incidents": incidents.past,
        "/incidents/{id}/related_incidents": incidents.related,
        "/services": services.all,
        "/services/{id}": services.one,
        "/services/{id}/change_events": changes.of_service,
        "/service_dependencies/technical_services/{id}": services.dependencies,
        "/change_events": changes.all,
        "/abilities": _abilities,
        "/users/me": services.me,
    }
    gate = Gate(clock, _A_MINUTE)
    routes = [Route(path, gate.behind(handler)) for path, handler in handlers.items()]
    routes.append(Route("/oncalls", Gate(clock, _A_MINUTE_ON_CALL).behind(services.oncalls)))
    return emulator(routes, faults, {404: _not_found})


class Gate:
    """The key, and a limit of requests a minute that is only told, never enforced: a demo may ask on."""

    def __init__(self, clock: Callable[[], int], limit: int) -> None:
        self._clock = clock
        self._limit = self._left = limit

    def behind(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that is answered by `handler`."""

        async def endpoint(request: Request) -> Response:
            if request.headers.get("authorization") != f"Token token={API_KEY}":
                return answer(Refused(401, 2006, "Invalid token or key").document, 401, self._headers())
            try:
                return answer(handler(request), headers=self._headers())
            except Refused as refused:
                return answer(refused.document, refused.status, self._headers())

        return endpoint

    def _headers(self) -> dict[str, str]:
        self._left = self._left - 1 or self._limit
        now_s = self._clock() // 1000
        return {
            "date": formatdate(now_s, usegmt=True),
            "ratelimit-limit": str(self._limit),
            "ratelimit-remaining": str(self._left),
            "ratelimit-reset": str(60 - now_s % 60),
        }


def _abilities(request: Request) -> Document:
    return {"abilities": list(_ABILITIES)}


async def _not_found(request: Request, error: Exception) -> Response:
    return answer(Refused(404, 2100, "Not Found").document, 404)
