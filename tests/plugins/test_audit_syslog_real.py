"""The syslog sink and a real rsyslogd, over TCP and over TLS, stopped and started again in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from telemetry_mcp import SourceError, UpstreamError
from telemetry_mcp_audit.syslog import Syslog
from tests.plugins.audit_record import hand_over, number_of, record, records, soon
from tests.real.rsyslog import DIRECT, SAVING, SLOW, USUAL, RsyslogServer

pytestmark = pytest.mark.real

COUNT = 20_000
HALF = 5_000_000
"""Bytes of about as many of them."""
Start = Callable[..., RsyslogServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def start(**options: Any) -> RsyslogServer:
        server = RsyslogServer(tmp_path, **options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """Its files and those of a server that it vouches for, where rsyslogd looks for them."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = authority.issue_cert("127.0.0.1", "logs.test")
    server.private_key_pem.write_to_path(str(tmp_path / "server.key"))
    (tmp_path / "server.pem").write_bytes(b"".join(pem.bytes() for pem in server.cert_chain_pems))
    return authority


def sink(server: RsyslogServer, **more: Any) -> Syslog:
    table = {"plugin": "syslog", "host": "127.0.0.1", "port": server.port, "tls": False, "timeout": "5s", **more}
    return Syslog(Syslog.Settings.model_validate(table))


def numbers(server: RsyslogServer) -> list[int]:
    """The numbers of the records that were written, in the order of the file."""
    whole, end, _ = server.fields.read_bytes().rpartition(b"\n")  # it may be writing the last line
    return [number_of(json.loads(line)["msg"]) for line in (whole + end).splitlines()]


@pytest.mark.parametrize("queue", [DIRECT, SAVING.format(more="")], ids=["direct queue", "queue that is saved"])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_nothing_is_lost_when_rsyslogd_is_stopped_in_the_middle(
    start: Start, authority: trustme.CA, tmp_path: Path, tls: bool, queue: str
) -> None:
    server = start(tls=tls, queue=queue)
    syslog = sink(server, tls=tls, **({"ca_file": tmp_path / "ca.pem"} if tls else {}))
    size, failed = 500, 0

    async def deliver() -> None:
        nonlocal failed
        failed = await hand_over(syslog, records(COUNT), size)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(deliver)
        assert await soon(lambda: server.raw.exists() and server.raw.stat().st_size > HALF)
        await anyio.to_thread.run_sync(server.stop)
        stopped_at = len(numbers(server))
        await anyio.to_thread.run_sync(server.start)
    server.stop()

    written = numbers(server)
    assert 0 < stopped_at < COUNT
    assert failed
    assert list(dict.fromkeys(written)) == list(range(COUNT))
    assert len(written) - COUNT <= failed * size


@pytest.mark.parametrize(
    ("queue", "survive"),
    [(DIRECT, True), (SAVING.format(more=SLOW), True), (USUAL.format(more=SLOW), False)],
    ids=["direct", "saved", "the usual one"],
)
async def test_what_rsyslogd_has_confirmed_survives_its_stop_with_the_queues_that_the_page_names(
    start: Start, queue: str, survive: bool
) -> None:
    server = start(queue=queue)
    await sink(server).write_batch(records(1000))
    server.stop()
    server.start()
    assert await soon(lambda: len(numbers(server)) == 1000, 10 if survive else 1) is survive


async def test_a_message_says_who_when_and_how_grave_and_carries_the_record_whole(start: Start) -> None:
    server = start()
    syslog = sink(server, hostname="gateway-1", severity={"refused": "err"})
    told = {"action": "tools/call", "subject": 'o"brien]', "name": "list_services"}
    await syslog.write_batch(
        [record(nth, outcome=outcome, **told) for nth, outcome in enumerate(("answered", "denied", "refused"))]
    )
    server.stop()
    first, second, third = (json.loads(line) for line in server.fields.read_text().splitlines())
    assert (first["host"], first["app"], first["id"]) == ("gateway-1", "telemetry-mcp", "tools/call")
    assert (first["facility"], first["at"]) == ("13", "2026-09-21T14:13:20.123Z")
    assert [one["severity"] for one in (first, second, third)] == ["info", "warning", "err"]
    assert second["data"] == (
        '[meta sequenceId="2"]'
        r'[audit@32473 id="id-1" outcome="denied" subject="o\"brien\]" name="list_services"]'
    )
    assert first["msg"].encode() == record(0).line


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    start: Start, authority: trustme.CA, tmp_path: Path
) -> None:
    server = start(tls=True)
    with pytest.raises(UpstreamError, match=r"not trusted.*set ca_file"):
        await sink(server, tls=True).write(record(0))
    with pytest.raises(UpstreamError, match=r"not trusted.*server_name"):
        await sink(server, tls=True, ca_file=tmp_path / "ca.pem", server_name="other.test").write(record(0))
    await sink(server, tls=True, ca_file=tmp_path / "ca.pem", server_name="logs.test").write(record(1))
    await sink(server, tls=True, verify_tls=False).write(record(2))
    server.stop()
    assert numbers(server) == [1, 2]


async def test_rsyslogd_lets_in_whom_it_wants_a_certificate_from(
    start: Start, authority: trustme.CA, tmp_path: Path
) -> None:
    own = authority.issue_cert("telemetry.test")
    own.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    server = start(tls=True, clients=True)
    trusting = {"tls": True, "ca_file": tmp_path / "ca.pem"}
    with pytest.raises(SourceError):
        await sink(server, **trusting).write(record(0))
    await sink(server, **trusting, cert_file=tmp_path / "own.pem").write(record(1))
    server.stop()
    assert numbers(server) == [1]
