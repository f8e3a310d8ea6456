"""Fakes for tests of one's own: a clock, a transport, and sources that do as they are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from anyio import Event

from telemetry_mcp.guard import Guard
from telemetry_mcp.http import Http
from telemetry_mcp.model import Reply
from telemetry_mcp.question import Question
from telemetry_mcp.registry import Instance, Registry
from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import SourceSettings
from telemetry_mcp.source import METHODS, Context, Source

if TYPE_CHECKING:
    import httpx

Told = Reply[Any] | BaseException | Callable[[Question[Any]], Reply[Any] | Awaitable[Reply[Any]]]
"""What a scripted source gives, raises, or makes of the question."""


@dataclass(slots=True)
class Clock:
    """A clock that stands still until it is told. Called, it gives seconds: for Guard, Quota, Breaker."""

    seconds: float = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def ms(self) -> int:
        """Epoch milliseconds, for what takes `clock_ms`."""
        return int(self.seconds * 1000)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


def mock_http(respond: Callable[[httpx.Request], httpx.Response], base_url: str = "http://backend.test") -> Http:
    """An Http whose requests are answered by `respond` in the same process."""
    import httpx

    client = httpx.AsyncClient(transport=httpx.MockTransport(respond), base_url=base_url, follow_redirects=False)
    return Http(lambda: client)


def mocked(source: type[Source], respond: Callable[[httpx.Request], httpx.Response], **settings: Any) -> Source:
    """A source behind HTTP over `mock_http`; `settings` are those of its table, plugin and url filled in.

    Raises pydantic's ValidationError for settings that its table may not have.
    """
    url = "http://backend.test"
    table = source.Settings.model_validate({"plugin": "mocked", "url": url, **settings})
    return source(table, Context("mocked", http=mock_http(respond, url)))


class Scripted(Source):
    """What `scripted` makes. `asked` are the questions so far, `asked_once` is set with the first of them."""

    def __init__(self, name: str, told: dict[str, Told]) -> None:
        super().__init__(SourceSettings(plugin="scripted"), Context(name))
        self.told = told
        self.asked: list[Question[Any] | None] = []
        self.asked_once = Event()
        self.gate: Event | None = None

    def hold(self) -> Event:
        """Let every answer from now on wait for the event that is returned."""
        self.gate = Event()
        return self.gate

    async def answer(self, capability: str, question: Any = None) -> Reply[Any]:
        self.asked.append(question)
        self.asked_once.set()
        if self.gate is not None:
            await self.gate.wait()
        told = self.told[capability]
        if isinstance(told, BaseException):
            raise told
        if isinstance(told, Reply):
            return told
        made = told(question)
        return await made if isawaitable(made) else made


def scripted(name: str = "scripted", **answers: Told) -> Scripted:
    """A source with these capabilities: `scripted(services=Reply([Service("a")]), series=AuthError("no"))`.

    Each is a Reply, an exception to raise, or a function of the question, which may be async.
    """

    def method(capability: str) -> Callable[..., Awaitable[Reply[Any]]]:
        async def told(self: Scripted, question: Any = None) -> Reply[Any]:
            return await self.answer(capability, question)

        return told

    methods = {METHODS[capability]: method(capability) for capability in answers}
    made: type[Scripted] = type("Scripted", (Scripted,), methods)
    return made(name, dict(answers))


def registry_of(*sources: Source, timeout_s: float = 8.0) -> Registry:
    """A registry of sources that are there already, each by the name in its context: for Fanout and `opened`."""
    instances = (
        Instance(
            name=source.context.name,
            plugin=source.settings.plugin,
            source=source,
            guard=Guard(timeout_s=timeout_s, max_concurrency=16),
            redact=Redactor(source.settings),
        )
        for source in sources
    )
    return Registry(tuple(instances))
