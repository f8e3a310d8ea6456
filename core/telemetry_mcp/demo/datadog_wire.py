"""What the parts of Datadog's emulator share: both keys, the rate limit's headers, refusals and times."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from telemetry_mcp.demo.dogql import QueryError
from telemetry_mcp.demo.wire import answer

API_KEY = "demo-datadog-api-key"
APP_KEY = "demo-datadog-app-key"
SITE = "https://app.datadoghq.com"
LIMIT = 300

Document = dict[str, Any]
Handler = Callable[[Request], object]
Clock = Callable[[], int]


class Refused(Exception):
    """A status and the vendor's words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Gate:
    """Stands before every endpoint of one organization."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left: dict[str, int] = {}

    def headers(self, limit: str) -> dict[str, str]:
        """The limit counts down, and begins again before it is used up: the emulator holds nobody back."""
        self._left[limit] = left = self._left.get(limit, LIMIT) - 1 or LIMIT - 1
        return {
            "x-ratelimit-limit": str(LIMIT),
            "x-ratelimit-period": "60",
            "x-ratelimit-remaining": str(left),
            "x-ratelimit-reset": "42",
            "x-ratelimit-name": limit,
            **self.date(),
        }

    def date(self) -> dict[str, str]:
        return {"date": format_datetime(datetime.fromtimestamp(self._clock() // 1000, UTC), usegmt=True)}

    def behind(self, handler: Handler, limit: str = "public_api") -> Callable[[Request], Any]:
        """An endpoint behind both keys. The body of a request, where it has one, is in `request.state.body`."""

        async def endpoint(request: Request) -> Response:
            headers = self.headers(limit)
            if "dd-api-key" not in request.headers:
                return answer({"errors": ["Unauthorized"]}, 401, headers)
            keys = (request.headers["dd-api-key"], request.headers.get("dd-application-key"))
            if keys != (API_KEY, APP_KEY):
                return answer({"errors": ["Forbidden"]}, 403, headers)
            try:
                request.state.body = orjson.loads(await request.body() or b"null")
                return answer(handler(request), headers=headers)
            except Refused as refused:
                return answer(told(request, str(refused)), refused.status, headers)
            except QueryError as error:
                return answer(told(request, f"Error parsing query: unable to parse {error}"), 400, headers)

        return endpoint


def told(request: Request, reason: str) -> Document:
    """The query endpoint has an error shape of its own."""
    return {"status": "error", "error": reason} if request.url.path == "/api/v1/query" else {"errors": [reason]}


def at(body: object, *path: str) -> Any:
    """What a request says at a path; Refused where it says nothing there."""
    for key in path:
        if not isinstance(body, Mapping) or key not in body:
            raise Refused(400, f"API input validation failed: missing {'.'.join(path)}")
        body = body[key]
    return body


def moment_ms(text: object) -> int:
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except ValueError as error:
        raise Refused(400, f"API input validation failed: {text} is no time") from error


def rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdigit():
        raise Refused(400, f"Invalid {name}: {text}")
    return int(text)
