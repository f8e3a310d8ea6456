"""The syslog sink: what is in a message, and receivers that do not read everything."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from telemetry_mcp import ProtocolError, SourceTimeoutError, UpstreamError
from telemetry_mcp_audit.delivery import confirmed
from telemetry_mcp_audit.message import FACILITIES, LAST_SEQUENCE, SEVERITIES, Header, following
from telemetry_mcp_audit.syslog import Syslog
from tests.plugins.audit_record import record, records

Receive = Callable[[socket.socket], None]
Listen = Callable[..., int]


def settings(**more: Any) -> Any:
    return Syslog.Settings.model_validate({"plugin": "syslog", "host": "127.0.0.1", "timeout": "2s", **more})


def header(**more: Any) -> Header:
    told = {"facility": "local7", "severity": {}, "hostname": "h", "app_name": "a", "process": "1"}
    return Header(**{**told, "enterprise_id": 32473, **more})


# ---- messages


def test_the_length_before_a_message_is_that_of_its_bytes() -> None:
    framed = header().framed(record(1), 7)
    length, _, message = framed.partition(b" ")
    assert int(length) == len(message)
    assert message.endswith(b" " + record(1).line)
    assert "é".encode() in message


def test_facilities_and_severities_have_the_numbers_of_the_rfc() -> None:
    assert (FACILITIES.index("kern"), FACILITIES.index("audit"), FACILITIES.index("local7")) == (0, 13, 23)
    assert (SEVERITIES.index("emerg"), SEVERITIES.index("warning"), SEVERITIES.index("debug")) == (0, 4, 7)
    assert header().framed(record(1, outcome="denied"), 1).partition(b" ")[2].startswith(b"<188>1 ")


@pytest.mark.parametrize(
    ("outcome", "severity"),
    [
        ("answered", b"<190>"),
        ("refused", b"<189>"),
        ("denied", b"<188>"),
        ("limited", b"<188>"),
        ("new", b"<189>"),
    ],
)
def test_an_outcome_has_its_severity(outcome: str, severity: bytes) -> None:
    assert severity in header().framed(record(1, outcome=outcome), 1)


def test_what_a_caller_wrote_cannot_break_out_of_its_field() -> None:
    told = {"action": "bad action\né" * 9, "name": 'x"] <0>1 forged\n', "subject": "a\\"}
    message = header(hostname="two words").framed(record(1, **told), 1).partition(b" ")[2].decode()
    assert "\n" not in message
    assert message.split(" ")[2:6] == ["two_words", "a", "1", "bad_action__bad_action__bad_acti"[:32]]
    found = re.search(r'name="((?:[^"\\\]]|\\.)*)"\]', message)
    assert found
    assert found[1] == r"x\"\] <0>1 forged"
    assert r'subject="a\\"' in message


def test_sequence_numbers_begin_again_at_one() -> None:
    assert [following(0), following(1), following(LAST_SEQUENCE)] == [1, 2, 1]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"key_file": __file__}, "key_file needs cert_file"),
        ({"tls": False, "ca_file": __file__}, "are for tls = true"),
        ({"facility": "local9"}, "local7"),
        ({"severity": {"denied": "loud"}}, "warning"),
        ({"token": "x"}, "Extra inputs"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(**table)


# ---- receivers


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts a receiver that does `receive` with the first connection; the port."""
    threads: list[threading.Thread] = []

    def start(receive: Receive, buffer: int = 0) -> int:
        listening = socket.create_server(("127.0.0.1", 0))
        if buffer:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        listening.settimeout(5)

        def serve() -> None:
            with listening:
                connection = listening.accept()[0]
            connection.settimeout(5)
            receive(connection)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        port: int = listening.getsockname()[1]
        return port

    yield start
    for thread in threads:
        thread.join(6)
        assert not thread.is_alive()


def read_all(connection: socket.socket) -> int:
    size = 0
    while piece := connection.recv(65536):
        size += len(piece)
    return size


async def test_a_receiver_that_has_read_everything_and_closes_is_believed(listen: Listen) -> None:
    sizes = []

    def receive(connection: socket.socket) -> None:
        sizes.append(read_all(connection))
        connection.close()

    await Syslog(settings(port=listen(receive), tls=False)).write_batch(records(1000))
    assert sizes[0] > 300_000


def reset(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def closes_with_some_unread(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.close()


def closes_at_once(connection: socket.socket) -> None:
    connection.close()


@pytest.mark.parametrize("receive", [reset, closes_with_some_unread, closes_at_once])
@pytest.mark.parametrize("count", [1, 1000])
async def test_a_receiver_that_closes_before_it_has_read_everything_is_not_believed(
    listen: Listen, receive: Receive, count: int
) -> None:
    syslog = Syslog(settings(port=listen(receive), tls=False))
    with pytest.raises(UpstreamError, match="did not read everything"):
        await syslog.write_batch([record(0, line=b"{}" + b" " * 2000)] * count)


async def test_what_was_on_the_way_when_the_receiver_closed_is_seen_after_its_end() -> None:
    """Reading says that it ended well: only the socket's state tells that it refused what came later."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname(), 5) as ours,
    ):
        theirs = listening.accept()[0]
        theirs.close()
        assert ours.recv(1) == b""
        ours.sendall(b"on the way")
        with pytest.raises(OSError, match="before everything was read"):
            await confirmed(ours)
        assert ours.recv(1) == b""


async def test_a_receiver_that_never_closes_has_confirmed_nothing(listen: Listen) -> None:
    ended = threading.Event()

    def receive(connection: socket.socket) -> None:
        read_all(connection)
        ended.wait(5)
        connection.close()

    syslog = Syslog(settings(port=listen(receive), tls=False, timeout="200ms"))
    try:
        with pytest.raises(SourceTimeoutError, match=r"did not confirm \d+ bytes within 0.2 s"):
            await syslog.write_batch(records(3))
    finally:
        ended.set()


async def test_an_end_that_comes_while_our_bytes_are_still_on_the_way_is_not_believed(listen: Listen) -> None:
    ended = threading.Event()

    def receive(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        ended.wait(5)
        connection.close()

    syslog = Syslog(settings(port=listen(receive, buffer=4096), tls=False, timeout="300ms"))
    try:
        with pytest.raises(SourceTimeoutError):
            await syslog.write_batch(records(300))
    finally:
        ended.set()


async def test_a_receiver_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(UpstreamError, match=rf"127.0.0.1:{port} is not there"):
        await Syslog(settings(port=port, tls=False)).write(record(0))


@pytest.mark.parametrize("honest", [True, False])
async def test_an_end_of_tcp_in_the_place_of_the_end_of_tls_is_not_believed(
    listen: Listen, tmp_path: Path, honest: bool
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def receive(connection: socket.socket) -> None:
        secure = context.wrap_socket(connection, server_side=True)
        read_all(secure)
        if honest:
            secure.unwrap()
        secure.close()

    syslog = Syslog(settings(port=listen(receive), ca_file=tmp_path / "ca.pem"))
    if honest:
        await syslog.write_batch(records(1000))
    else:
        with pytest.raises(UpstreamError, match="did not read everything"):
            await syslog.write_batch(records(1000))


async def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    with pytest.raises(ProtocolError, match="ca_file, cert_file or key_file cannot be used"):
        await Syslog(settings(ca_file=tmp_path / "ca.pem")).write(record(0))
