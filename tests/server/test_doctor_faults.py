"""`telemetry-mcp doctor` over a plugins.toml that is wrong in many ways: each fault has its name and its fix."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from typer.testing import CliRunner, Result

from telemetry_mcp.cli import app

SECRETS = ("planted-api-key", "planted-app-key", "planted-bearer", "planted-misplaced", "planted-password")
HOUR_S = 3600


class Backend(BaseHTTPRequestHandler):
    """Answers every request as Prometheus does that knows no series."""

    skew_s = 0

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, body = self.answer(self.path.partition("?")[0])
        whole = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(whole)))
        self.end_headers()
        self.wfile.write(whole)

    do_POST = do_GET

    def answer(self, path: str) -> tuple[int, Any]:
        asked = path.endswith(("/query", "/query_range"))
        return 200, {"status": "success", "data": {"resultType": "vector", "result": []} if asked else []}

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(datetime.now(UTC).timestamp() + self.skew_s)

    def log_message(self, format: str, *words: Any) -> None:
        """Says nothing: what is on stderr is the program's."""


class Skewed(Backend):
    skew_s = HOUR_S


class Unscoped(Backend):
    """As Datadog with a good API key and an application key that lacks a scope."""

    def answer(self, path: str) -> tuple[int, Any]:
        if path.endswith("/validate"):
            return 200, {"valid": True}
        return 403, {"errors": ["Forbidden", "Failed permission authorization checks: timeseries_query"]}


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: that a client hangs up on a certificate is what is tested."""


Serve = Callable[..., str]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts servers on loopback and gives their addresses; `certificate` makes it speak TLS."""
    running: list[ThreadingHTTPServer] = []

    def start(backend: type[Backend], certificate: trustme.LeafCert | None = None) -> str:
        server = Server(("127.0.0.1", 0), backend)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            # The handshake is left to the thread of the connection: one that fails must not stop the others.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        running.append(server)
        return f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Acme Trust")


@pytest.fixture
def closed() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        return f"http://127.0.0.1:{once.getsockname()[1]}"


Doctor = Callable[..., Result]


@pytest.fixture
def doctor(tmp_path: Path, own_log: None) -> Doctor:
    """Runs doctor over a plugins.toml of this text."""

    def run(text: str, *words: str) -> Result:
        path = tmp_path / "plugins.toml"
        path.write_text(text)
        return CliRunner().invoke(app, ["doctor", "--config", str(path), *words])

    return run


def found(result: Result) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.stdout)
    assert sorted(document) == ["config", "fixes", "ok", "problems", "sources"]
    return document


def fix(document: dict[str, Any], source: str) -> dict[str, Any]:
    """The one fault of a source."""
    (one,) = (each for each in document["fixes"] if each["source"] == source and each["level"] == "fault")
    return dict(one)


def status(document: dict[str, Any]) -> dict[str, str]:
    return {source["source"]: source["status"] for source in document["sources"]}


@pytest.fixture
def wrong(serve: Serve, authority: trustme.CA, closed: str, tmp_path: Path) -> str:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    return f"""
[sources.typo]
plugin = "prometheus"
url = "{closed}"
bearer_tokn = "planted-misplaced"

[sources.unscoped]
plugin = "datadog"
url = "{serve(Unscoped)}"
api_key = "planted-api-key"
app_key = "planted-app-key"
[sources.unscoped.metrics]
cpu = "avg:system.cpu.user{{*}} by {{service}}"

[sources.distrusted]
plugin = "prometheus"
url = "{serve(Backend, authority.issue_cert("127.0.0.1"))}"
ca_file = "{stranger}"
bearer_token = "planted-bearer"

[sources.skewed]
plugin = "prometheus"
url = "{serve(Skewed)}"
username = "reader"
password = "planted-password"
[sources.skewed.metrics]
cpu = "sum by (service) (no_such_metric)"

[sources.gone]
plugin = "prometheus"
url = "{closed}"
"""


def test_one_run_names_every_fault_and_its_fix(doctor: Doctor, wrong: str) -> None:
    result = doctor(wrong, "--json")
    document = found(result)
    assert result.exit_code == 2
    assert document["ok"] is False
    assert status(document) == dict.fromkeys(("typo", "unscoped", "distrusted", "skewed", "gone"), "fault")
    (problem,) = document["problems"]
    assert (problem["table"], problem["key"]) == ("sources.typo", "bearer_tokn")

    assert "bearer_tokn: no such key" in fix(document, "typo")["detail"]
    assert '[sources.typo]\nbearer_token = "..."' in fix(document, "typo")["fix"]

    scopes = [each for each in document["fixes"] if each["source"] == "unscoped"]
    assert any("timeseries_query" in each["fix"] for each in scopes)
    assert all(check["ok"] for check in document["sources"][1]["checks"] if check["name"] == "api key")

    untrusted = fix(document, "distrusted")
    assert untrusted["check"] == "TLS"
    assert "signed by Acme Trust" in untrusted["detail"]
    assert "stranger.pem does not hold the authority" in untrusted["detail"]
    assert '[sources.distrusted]\nca_file = "/path/to/authority.pem"' in untrusted["fix"]

    skewed = fix(document, "skewed")
    assert "3600 s ahead" in skewed["detail"] or "3599 s ahead" in skewed["detail"]
    assert "NTP" in skewed["fix"]

    gone = fix(document, "gone")
    assert (gone["check"], "refused" in gone["detail"]) == ("network", True)
    assert "\nnc -vz 127.0.0.1 " in gone["fix"]


def test_the_table_says_the_same_and_its_fixes_can_be_pasted(doctor: Doctor, wrong: str) -> None:
    document, result = found(doctor(wrong, "--json")), doctor(wrong)
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    for each in document["fixes"]:
        sentence, _, paste = each["fix"].partition("\n")
        assert f"# {sentence}" in lines
        assert [line for line in paste.splitlines() if line not in lines] == []
    ending = "needs attention: typo, unscoped, distrusted, skewed, gone"
    assert lines[-2:] == [ending, "no server starts with this file: 1 problem"]
    block = result.stdout[result.stdout.index("# typo, configuration") : result.stdout.index("# unscoped, ")]
    assert tomllib.loads(block) == {"sources": {"typo": {"bearer_token": "..."}}}


def test_no_secret_of_the_file_is_in_anything_that_doctor_says(doctor: Doctor, wrong: str) -> None:
    for words in ((), ("--json",)):
        result = doctor(wrong, *words)
        said = result.stdout + result.stderr
        assert "distrusted" in said
        assert [secret for secret in SECRETS if secret in said] == []


def test_a_sound_file_with_faulty_sources_ends_with_1(doctor: Doctor, wrong: str) -> None:
    result = doctor(wrong.replace("bearer_tokn", "bearer_token"), "--json")
    assert (result.exit_code, found(result)["problems"]) == (1, [])


def test_only_the_named_sources_are_examined(doctor: Doctor, wrong: str) -> None:
    result = doctor(wrong, "--json", "--source", "gone", "--source", "skewed")
    assert list(status(found(result))) == ["skewed", "gone"]
    assert (result.exit_code, found(result)["problems"]) == (1, [])


def test_a_source_that_is_not_there_is_refused_with_the_nearest_name(doctor: Doctor, wrong: str) -> None:
    result = doctor(wrong, "--source", "skewd")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'skewed'" in result.stderr


def test_a_query_of_the_users_own_without_data_is_a_warning_that_shows_how_to_test_it(
    doctor: Doctor, serve: Serve
) -> None:
    text = f"""
[sources.own]
plugin = "prometheus"
url = "{serve(Backend)}"
allow_native = true
[sources.own.metrics]
cpu = 'sum by (service) (cpu{{job="api"}})'
"""
    document = found(result := doctor(text, "--json"))
    assert (result.exit_code, document["ok"], status(document)) == (0, True, {"own": "warning"})
    (metric,) = document["sources"][0]["metrics"]
    assert (metric["status"], metric["services"], metric["preset"]) == ("no_data", 0, None)
    (each,) = document["fixes"]
    assert (each["check"], each["level"]) == ("metric cpu", "warning")
    assert "telemetry-mcp call query_source source=own 'query=sum by (service) (cpu{job=" in each["fix"]
    assert "worth a look: own" in doctor(text).stdout


def test_a_source_of_which_only_a_part_is_wrong_is_examined_all_the_same(doctor: Doctor, serve: Serve) -> None:
    text = f'[sources.a]\nplugin = "prometheus"\nurl = "{serve(Backend)}"\nmetrics.queue_length = "queue"\n'
    document = found(result := doctor(text, "--json"))
    assert (result.exit_code, status(document)) == (2, {"a": "fault"})
    (source,) = document["sources"]
    assert source["checks"][0]["fix"].endswith("\n[metrics.queue_length]")
    assert [metric["status"] for metric in source["metrics"]] == ["no_data"]


# The page about it

PAGE = Path(__file__).resolve().parents[2] / "docs" / "doctor.md"


def test_the_example_of_the_docs_is_what_doctor_says(
    doctor: Doctor, serve: Serve, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THANOS_TOKEN", raising=False)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1", common_name="mimir.acme.example")
    result = doctor(f"""
[sources.mimir]
plugin = "prometheus"
url = "{serve(Backend, certificate)}"
ca_file = "ca.pem"

[sources.victoria]
plugin = "prometheus"
url = "{serve(Backend)}"
[sources.victoria.metrics]
cpu = 'avg by (service) (service_cpu_pct{{service=~"$service"}})'

[sources.thanos]
plugin = "prometheus"
url = "http://127.0.0.1:9"
bearer_token = "${{THANOS_TOKEN}}"

[sources.pager]
plugin = "pagerduty"
api_key = "${{TELEMETRY_TEST_UNSET}}"
optional = true
""")
    shown = PAGE.read_text(encoding="utf-8").split("```")[1].strip()
    summary, _, rest = shown.partition("\n\n")
    said = result.stdout.replace(str(tmp_path), "/etc/telemetry-mcp")
    assert said.rstrip().endswith(rest)
    lines = [line.split()[:2] for line in said.splitlines()]
    assert [line for line in summary.splitlines() if line.split()[:2] not in lines and "──" not in line] == []
