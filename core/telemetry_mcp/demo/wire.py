"""What the emulators share on the wire: JSON answers, and a record of what was asked."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from telemetry_mcp.demo.fault import Faults, FaultSwitch


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in. Header names are in lower case; `query` keeps repeated names."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """Query and form fields together, the last one of a name winning."""
        return dict((*self.query, *parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)))

    @property
    def json(self) -> Any:
        """The body as JSON; raises orjson.JSONDecodeError when it is none."""
        return orjson.loads(self.body)


def answer(
    document: object,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    """`document` as a JSON response; NumPy arrays are written as lists."""
    body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, headers, media_type)


class Recorder:
    """ASGI middleware that writes down each request in `asked`, the oldest falling off at its maximum."""

    def __init__(self, app: ASGIApp, asked: deque[Asked]) -> None:
        self._app = app
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = await read(receive)
        self._asked.append(
            Asked(
                method=scope["method"],
                path=scope["path"],
                query=tuple(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
                headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
                body=body,
            )
        )
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, again, send)


async def read(receive: Receive) -> bytes:
    """The whole body of a request, as far as it came."""
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    return b"".join(parts)


def emulator(
    routes: Sequence[BaseRoute],
    faults: Faults,
    handlers: Mapping[Any, ExceptionHandler] | None = None,
) -> Starlette:
    """An application whose requests are written down in `state.requests` and then meet their fault."""
    asked = deque[Asked](maxlen=1000)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Recorder, asked=asked), Middleware(FaultSwitch, faults=faults)],
        exception_handlers=handlers,
    )
    app.state.requests = asked
    return app


async def fields(request: Request) -> dict[str, list[str]]:
    """Query and form fields together, every value of a name."""
    body = (await request.body()).decode("utf-8", "replace")
    found: dict[str, list[str]] = {}
    for name, value in (*request.query_params.multi_items(), *parse_qsl(body, keep_blank_values=True)):
        found.setdefault(name, []).append(value)
    return found
