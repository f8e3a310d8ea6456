"""The contract suite lets a good plugin pass, and catches each bad one by the test that is named for it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

GOOD = """
import logging
import time
from typing import Annotated

import anyio
import httpx
import numpy as np
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError
from telemetry_mcp import *

class Row(BaseModel):
    service: str
    metric: str
    unit: str
    points: list[tuple[Annotated[int, Field(ge=0, le=10**13)], float | None]]

class Team(BaseModel):
    name: str
    team: str | None = None

ROWS, TEAMS = TypeAdapter(list[Row]), TypeAdapter(list[Team])

class Acme(Source):
    class Settings(HttpSettings):
        token: SecretStr = Field(description="API token")

    @classmethod
    def headers(cls, settings):
        return {"x-token": settings.token.get_secret_value()}

    async def read(self, kind, path, **params):
        answer = await self.http.json("GET", path, params=params)
        try:
            return kind.validate_python(answer)
        except ValidationError as error:
            raise ProtocolError(f"{path} answers in an unknown shape") from error

    async def list_services(self, query):
        teams = await self.read(TEAMS, "/services")
        return Reply([Service(team.name, team=team.team) for team in teams], queries=["/services"])

    async def fetch_series(self, query):
        window = query.window
        rows = await self.read(ROWS, "/series", services=",".join(query.services), start=window.start_ms)
        return Reply([self.series(row) for row in rows])

    def series(self, row):
        times = np.array([at for at, _ in row.points], dtype=np.int64)
        values = np.array([value for _, value in row.points], dtype=np.float64)
        return Series(row.service, row.metric, times, values, row.unit)

    async def close(self):
        pass

@hookimpl
def telemetry_sources():
    return [Acme]
"""

TEST = """
from telemetry_mcp.testing import SourceContract

class {name}(SourceContract):
    plugin = "{file}"
    settings = {{"token": "t"}}
    metrics = {{"cpu": "system.cpu"}}

    def respond(self, request):
        if request.path == "/services":
            return [{{"name": "checkout", "team": "payments"}}]
        start = int(request.query["start"])
        points = [[start + nth * 60_000, 1 + nth / 10] for nth in range(20)]
        return [{{"service": "checkout", "metric": "cpu", "unit": "percent", "points": points}}]
"""

MEMORY = """
import numpy as np
from telemetry_mcp import Reply, Series, Source, hookimpl

class Memory(Source):
    async def fetch_series(self, query):
        at = np.arange(query.window.start_ms, query.window.end_ms, query.step_ms)
        return Reply([Series(name, "cpu", at, np.ones(len(at))) for name in query.services or ["checkout"]])

@hookimpl
def telemetry_sources():
    return [Memory]
"""
TEST_OF_MEMORY = """
class TestMemory(SourceContract):
    plugin = "memory.py"
"""

SERVICES = '        teams = await self.read(TEAMS, "/services")\n'
ASK = '        answer = await self.http.json("GET", path, params=params)\n'
TIMES = "times = np.array([at for at, _ in row.points], dtype=np.int64)"
OWN_CLIENT = """
        headers = self.headers(self.settings)
        async with httpx.AsyncClient(base_url=self.settings.base_url, headers=headers, OPTIONS) as client:
            try:
                got = await client.get(path, params=params)
                answer = got.raise_for_status().json()
            except (httpx.HTTPError, ValueError) as error:
                raise UpstreamError("no answer") from None
"""

BAD = {
    "sleeps on the event loop": (
        *(SERVICES, "        time.sleep(0.2)\n" + SERVICES),
        *("test_the_event_loop_is_never_blocked[healthy]", "stood still"),
    ),
    "waits for the network on the event loop": (
        *(
            ASK,
            "        answer = httpx.get(self.settings.base_url + path, params=params, trust_env=False).json()\n",
        ),
        *("test_the_event_loop_is_never_blocked[slow]", "answer = httpx.get"),
    ),
    "swallows its cancellation": (
        *(ASK, "        try:\n    " + ASK + "        except BaseException:\n            return []\n"),
        *("test_a_cancelled_question_ends_within_100_ms", "let the cancellation pass"),
    ),
    "goes on after its cancellation": (
        *(
            ASK,
            "        try:\n    " + ASK + "        except anyio.get_cancelled_exc_class():\n"
            "            with anyio.CancelScope(shield=True):\n                await anyio.sleep(0.3)\n"
            "            raise\n",
        ),
        *("test_a_cancelled_question_ends_within_100_ms", "after it was cancelled"),
    ),
    "cannot be cancelled at all": (
        *(ASK, "        with anyio.CancelScope(shield=True):\n    " + ASK),
        *("test_a_deadline_is_held", "did not come to an end"),
    ),
    "raises KeyError": (
        *("team=team.team)", 'team={}["team"])'),
        *("test_every_capability_answers", "KeyError"),
    ),
    "trusts every answer": (
        *(
            "return kind.validate_python(answer)",
            "return [kind._type.__args__[0].model_construct(**a) for a in answer]",
        ),
        *("test_a_strange_answer_is_a_typed_error_or_skipped", "when the whole answer is null"),
    ),
    "gives seconds": (
        *(TIMES, TIMES + " // 1000"),
        *("test_times_are_sorted_milliseconds_inside_the_window", "multiply them by 1000"),
    ),
    "gives times that go back": (
        *(TIMES, TIMES + "[::-1]"),
        *("test_times_are_sorted_milliseconds_inside_the_window", "sort by time"),
    ),
    "gives times of another window": (
        *(TIMES, TIMES + " - 86_400_000"),
        *("test_times_are_sorted_milliseconds_inside_the_window", "beyond the window"),
    ),
    "invents a unit": (
        *("row.unit)", '"furlongs")'),
        *("test_units_are_known", "furlongs"),
    ),
    "makes 0 of nothing": (
        *(
            "return Reply([self.series(row) for row in rows])",
            'return Reply([self.series(row) for row in rows] or [Series("checkout", "cpu", '
            "np.array([window.start_ms]), np.zeros(1))])",
        ),
        *("test_nothing_found_is_no_data_and_not_zero", "0 is a measurement"),
    ),
    "makes 0 of null": (
        *("[value for _, value in row.points]", "[value or 0.0 for _, value in row.points]"),
        *("test_a_null_is_never_a_zero", "has a 0 that nobody measured"),
    ),
    "takes a failure for no data": (
        *(ASK, "        try:\n    " + ASK + "        except SourceError:\n            return []\n"),
        *("test_a_fault_is_a_typed_error[500]", "Raise UpstreamError"),
    ),
    "keeps Retry-After to itself": (
        *(
            ASK,
            "        try:\n    " + ASK + "        except RateLimitedError as error:\n"
            "            raise RateLimitedError(str(error)) from None\n",
        ),
        *("test_a_fault_is_a_typed_error[429 with Retry-After]", "retry_after_s=None"),
    ),
    "reads without a limit": (
        *(ASK, OWN_CLIENT.replace("OPTIONS", "trust_env=False")),
        *("test_a_fault_is_a_typed_error[gzip bomb]", "answered ok"),
    ),
    "follows redirects": (
        *(ASK, OWN_CLIENT.replace("OPTIONS", "trust_env=False, follow_redirects=True")),
        *("test_a_redirect_is_not_followed", "took token along"),
    ),
    "asks again after a time-out": (
        *(
            ASK,
            "        answer = None\n        while answer is None:\n            with anyio.move_on_after(0.12):\n"
            "        " + ASK,
        ),
        *("test_a_silent_backend_is_asked_once[hang]", "sent again"),
    ),
    "says its token in an error": (
        *(
            ASK,
            "        try:\n    " + ASK + "        except AuthError:\n"
            '            raise AuthError(f"refused: {self.headers(self.settings)}") from None\n',
        ),
        *("test_no_secret_comes_out[401]", "<token>"),
    ),
    "logs its token": (
        *(ASK, '        logging.getLogger("acme").debug("%s", self.headers(self.settings))\n' + ASK),
        *("test_no_secret_comes_out[healthy]", "in the log"),
    ),
    "prints its token": (
        *(ASK, "        print(self.headers(self.settings))\n" + ASK),
        *("test_no_secret_comes_out[healthy]", "what it printed"),
    ),
    "shows its token": (
        *(
            "    async def close",
            "    def __repr__(self):\n        return str(self.headers(self.settings))\n\n    async def close",
        ),
        *("test_secrets_are_kept_as_secrets", "repr()"),
    ),
    "keeps its token as text": (
        *(
            '        token: SecretStr = Field(description="API token")',
            "        token: SecretStr\n        api_key: str = ''",
        ),
        *("test_secrets_are_kept_as_secrets", "make it a SecretStr"),
    ),
    "takes any setting": (
        *("    class Settings(HttpSettings):\n", '    class Settings(HttpSettings, extra="allow"):\n'),
        *("test_a_misspelt_setting_is_refused", "took an unknown key"),
    ),
    "mixes up its calls": (
        *(
            'rows = await self.read(ROWS, "/series", services=",".join(query.services), start=window.start_ms)',
            "self.window = window\n        await anyio.sleep(0)\n        await anyio.sleep(0.01)\n"
            '        rows = await self.read(ROWS, "/series", start=self.window.start_ms)',
        ),
        *("test_questions_at_once_are_answered_as_one_by_one", "keep what belongs to a call"),
    ),
    "stumbles over a name": (
        *(
            "        window = query.window\n",
            "        window = query.window\n        ','.join(query.services).encode('ascii')\n",
        ),
        *("test_no_service_name_is_too_odd", "UnicodeEncodeError"),
    ),
    "closes once only": (
        *("        pass\n", "        del self.settings\n"),
        *("test_close_is_good_twice_and_without_use", "close() raised AttributeError"),
    ),
    "is not async": (
        *(
            "    async def close",
            "    def list_changes(self, query):\n        return Reply()\n\n    async def close",
        ),
        *("test_it_is_loaded_by_the_registry", "must be `async def`"),
    ),
    "has no hook": (
        *("@hookimpl\n", ""),
        *("test_it_is_loaded_by_the_registry", "does not load"),
    ),
}
"""What a plugin does wrong -> what of GOOD becomes what, the test that catches it, and what that says."""


def named(fault: str) -> str:
    return "Test" + re.sub(r"\W", "_", fault.title())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says about the good plugin, and about each bad one in the test that must catch it."""
    folder = tmp_path_factory.mktemp("kit")
    (folder / "good.py").write_text(GOOD)
    (folder / "memory.py").write_text(MEMORY)
    tests = [TEST.format(name="TestGood", file="good.py"), TEST_OF_MEMORY]
    chosen = ["test_plugins.py::TestGood", "test_plugins.py::TestMemory"]
    for nth, (fault, (good, bad, test, _)) in enumerate(BAD.items()):
        assert good in GOOD, fault
        (folder / f"bad{nth}.py").write_text(GOOD.replace(good, bad))
        tests.append(TEST.format(name=named(fault), file=f"bad{nth}.py"))
        chosen.append(f"test_plugins.py::{named(fault)}::{test}")
    (folder / "test_plugins.py").write_text("".join(tests))
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-rA", *chosen]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_good_plugin_passes_everything(report: str) -> None:
    assert re.findall(r"^(?:FAILED|ERROR|SKIPPED) .*TestGood.*", report, flags=re.MULTILINE) == []
    assert report.count("PASSED test_plugins.py::TestGood::") >= 38


def test_a_plugin_without_a_backend_passes_what_there_is_to_test(report: str) -> None:
    assert re.findall(r"^(?:FAILED|ERROR) .*TestMemory.*", report, flags=re.MULTILINE) == []
    assert report.count("PASSED test_plugins.py::TestMemory::") >= 9
    assert "this backend cannot be 'refused'" in report


@pytest.mark.parametrize("fault", BAD)
def test_a_plugin_is_caught_that(fault: str, report: str) -> None:
    *_, test, words = BAD[fault]
    found = [line for line in report.splitlines() if line.startswith(("FAILED", "ERROR")) and named(fault) in line]
    assert len(found) == 1, report
    assert f"::{test}" in found[0]
    section = (
        report.partition(f"_ {named(fault)}.{test} _")[2] or report.partition(f"of {named(fault)}.{test} _")[2]
    )
    assert words in section.partition("\n____")[0]
