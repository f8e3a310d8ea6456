"""What a contract test stands on: what the author says of the plugin, its backend, and one run of both."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, NoReturn, TypeVar

import pytest

from telemetry_mcp.errors import ConfigError
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.question import Question, Window
from telemetry_mcp.source import Source, now_ms
from telemetry_mcp.testing import mutant, table
from telemetry_mcp.testing.ask import Subject
from telemetry_mcp.testing.backend import Backend, Request, Response, response_of
from telemetry_mcp.testing.fault import SILENT, SMALL_BOMB_MB
from telemetry_mcp.testing.trial import Run, Trial, Watch, Witness, opened

T = TypeVar("T")

STUCK_S = 5.0
PAST_MS = 300_000
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Asked:
    """Every capability was asked at once: how each ended, how long all of it took, and what the plugin did."""

    questions: Mapping[str, Question[Any]]
    outcomes: Mapping[str, Outcome[Any]]
    witness: Witness
    took_s: float

    def __iter__(self) -> Iterator[tuple[str, Question[Any], Outcome[Any]]]:
        return ((name, question, self.outcomes[name]) for name, question in self.questions.items())

    def series(self) -> Iterator[tuple[Question[Any], Series]]:
        for _, question, outcome in self:
            yield from ((question, item) for item in outcome.reply.items if isinstance(item, Series))


class Bench:
    """The part of SourceContract that is no test."""

    plugin: str
    """As in plugins.toml: an entry point, or a path to a .py file, from the folder of this test."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """What its table says besides. `url` is filled in; elsewhere `{url}` stands for it. A secret
    of less than 8 characters, or one that is required and not here, is replaced by `self.secrets[name]`."""
    metrics: ClassVar[Mapping[str, Any]] = {}
    """Its [metrics]: normalized name -> query, or {query, unit}."""
    services: tuple[str, ...] = ("checkout",)
    """Services that the healthy backend has data for."""
    window: Window | None = None
    """The time that the healthy backend has data for; by default an hour that ended five minutes ago."""
    step_ms: int = MINUTE_MS
    incident_id: str = "1"
    """An incident that the healthy backend knows, for its timeline and what is related to it."""
    native: str = ""
    """A query in its own language; by default the first of `metrics`."""
    quiet: tuple[str, ...] = ()
    """Capabilities for which the healthy backend has nothing to tell."""

    server: Backend | None = None
    """The backend of the test under way, where it is the kit's: `self.server.requests` is what reached it."""

    # ---- what an author says

    def respond(self, request: Request) -> object:
        """The healthy backend's answer: JSON as Python has it, text, bytes, or a Response."""
        raise NotImplementedError("override respond(request): what does your backend answer?")

    def nothing(self, request: Request) -> object:
        """The answer of a backend that found nothing; by default the healthy one with every list emptied."""
        response = response_of(self.respond(request))
        document = mutant.document_of(response)
        if document is mutant.GONE:
            raise NotImplementedError("override nothing(request): an answer that is no JSON cannot be emptied")
        return Response(response.status, response_of(mutant.emptied(document)).body, response.headers)

    @contextmanager
    def backend(self, state: str) -> Iterator[Mapping[str, Any]]:
        """The backend in this state while the block lasts; gives the settings that lead to it.

        States: healthy, nothing (well, and without data), slow (0.3 s for an answer), and those of
        `telemetry_mcp.testing.fault.FAULTS`. Call `self.cannot(state)` for one that this backend cannot be in.
        """
        if type(self).respond is not Bench.respond:
            answer = self.nothing if state == "nothing" else self.respond
            with Backend(self.respond) as self.stranger:
                elsewhere = self.stranger.url.replace("127.0.0.1", "localhost")
                with Backend(answer, state, elsewhere) as self.server:
                    yield {"url": self.server.url}
        elif "url" in self.source.Settings.model_fields:
            refuse("override respond(request): what does your backend answer?")
        else:
            if state != "healthy":
                self.cannot(state)
            yield {}

    def cannot(self, state: str) -> NoReturn:
        """Skip this test: the backend cannot be brought into that state."""
        pytest.skip(f"this backend cannot be {state!r}")

    # ---- how it is asked

    @pytest.fixture(autouse=True)
    def loaded(self, tmp_path: Path) -> None:
        """What every test needs first: the class behind `plugin`, as the registry finds it."""
        self.folder = tmp_path
        self.path = table.located(self.plugin, type(self))
        try:
            self.source = Run(lambda: found(self.path, tmp_path)).result()
        except AssertionError as error:
            refuse(f"{self.plugin} does not load: {error}")
        self.secrets = table.planted(self.source, self.settings)

    def configured(self, reach: Mapping[str, Any], **changes: Any) -> Path:
        """The plugins.toml of this test."""
        fields = self.source.Settings.model_fields
        settings = {name: table.filled(value, reach) for name, value in self.settings.items()}
        reached = {name: value for name, value in reach.items() if name != "url" or name in fields}
        path = self.folder / "plugins.toml"
        values = {"plugin": self.path, "allow_native": True, **reached, **settings, **self.secrets, **changes}
        path.write_text(table.document(values, self.metrics), encoding="utf-8")
        return path

    def watched(self, state: str, body: Callable[[Trial], Awaitable[T]], **changes: Any) -> tuple[T, Watch]:
        """What `body` makes of the running plugin, with the backend in that state."""
        with self.backend(state) as reach:
            if state == "gzip bomb" and "max_body_mb" in self.source.Settings.model_fields:
                changes["max_body_mb"] = 1
                self.http_server().bomb_mb = SMALL_BOMB_MB
            path = self.configured(reach, **changes)

            async def main() -> T:
                async with opened(path) as trial:
                    return await body(trial)

            run = Run(main)
            try:
                return run.result(STUCK_S if state in SILENT else 10 * STUCK_S), run.watch
            except (AssertionError, ConfigError) as error:
                refuse(str(error))

    def tried(self, state: str, body: Callable[[Trial], Awaitable[T]], **changes: Any) -> T:
        return self.watched(state, body, **changes)[0]

    def asked(self, state: str) -> Asked:
        return self.tried(state, self.ask_everything)

    async def ask_everything(self, trial: Trial, deadline_s: float = 15.0) -> Asked:
        questions = self.subject(trial).questions(trial.instance.capabilities)
        started = monotonic()
        outcomes = await trial.ask(*questions.values(), deadline_s=deadline_s)
        took_s = monotonic() - started
        return Asked(questions, dict(zip(questions, outcomes, strict=True)), trial.witness, took_s)

    def subject(self, trial: Trial) -> Subject:
        end_ms = (now_ms() - PAST_MS) // MINUTE_MS * MINUTE_MS
        first = next(iter(self.metrics.values()), "")
        return Subject(
            services=self.services,
            metrics=tuple(self.metrics) or trial.instance.offered or ("cpu",),
            window=self.window or Window(end_ms - 60 * MINUTE_MS, end_ms),
            step_ms=self.step_ms,
            incident_id=self.incident_id,
            native=self.native or (first["query"] if isinstance(first, Mapping) else first),
        )

    def says_nothing_with_nothing(self) -> bool:
        requests = self.server.requests if self.server else []
        return any(not response_of(self.nothing(request)).body.strip() for request in requests)

    def http_server(self) -> Backend:
        if self.server is None:
            pytest.skip("this needs the kit's own HTTP backend: override respond")
        return self.server

    def blame_respond(self) -> None:
        """A mistake in the author's `respond` is not the plugin's."""
        for error in self.server.mistakes if self.server else ():
            if isinstance(error, NotImplementedError):
                pytest.skip(str(error))
            refuse("the test's own respond() failed:\n" + "".join(traceback.format_exception(error)))

    def search(self, texts: Iterable[tuple[str, str]]) -> None:
        for place, text in texts:
            for name, secret in self.secrets.items():
                if table.holds(text, secret):
                    shown = text.replace(secret, f"<{name}>")
                    refuse(f"the secret {name!r} is in {place}: {shown[:600]}")


def refuse(message: str) -> NoReturn:
    """Fail the test with this sentence alone: the kit's own code is no help to whoever reads it."""
    pytest.fail(message, pytrace=False)


def judge(problems: Iterable[str]) -> None:
    found = list(dict.fromkeys(problems))
    if found:
        more = f"\n... and {len(found) - 5} more" if len(found) > 5 else ""
        refuse("\n".join(found[:5]) + more)


async def found(plugin: str, folder: Path) -> type[Source]:
    return table.class_of(plugin, folder)
