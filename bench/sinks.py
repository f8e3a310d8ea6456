"""Audit records a second into each sink, in batches of 1000 as they are handed over, and how many of them arrive.

The file is synced after every batch. rsyslogd is a real one, over TCP and over TLS; it is left out where it is not
installed. Elasticsearch and Splunk are stand-ins, whose own speed is most of what would be measured: not here.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import anyio
import trustme
from figure import Figure

from telemetry_mcp import AuditRecord, AuditSink
from telemetry_mcp_audit.file import File
from telemetry_mcp_audit.syslog import Syslog

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
# The servers of the tests are found from the root only.
from tests.plugins.audit_record import number_of, records  # noqa: E402
from tests.real.rsyslog import RsyslogServer  # noqa: E402

COUNT, BATCH = 20_000, 1000


async def deliver(sink: AuditSink, all_of: Sequence[AuditRecord]) -> float:
    """Records a second."""
    started = perf_counter()
    for start in range(0, len(all_of), BATCH):
        await sink.write_batch(all_of[start : start + BATCH])
    took_s = perf_counter() - started
    await sink.close()
    return len(all_of) / took_s


def to_file(folder: Path) -> list[Figure]:
    path = folder / "audit.jsonl"
    file = File(File.Settings.model_validate({"plugin": "file", "path": path, "max_mb": 1, "keep": 100}))
    speed = anyio.run(deliver, file, records(COUNT))
    arrived = [number_of(line) for one in folder.glob("audit.jsonl*") for line in one.read_bytes().splitlines()]
    return [
        Figure("audit records to a file, synced and rotated", speed, "records/s", 5000, relation=">="),
        Figure("of 20,000 audit records, in the file", len(set(arrived)), "records", COUNT, relation=">="),
    ]


def to_rsyslog(folder: Path, *, tls: bool) -> list[Figure]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    (folder / "server.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    server = RsyslogServer(folder, tls=tls)
    server.start()
    try:
        table = {"plugin": "syslog", "host": "127.0.0.1", "port": server.port, "tls": tls}
        trusted = {"ca_file": folder / "ca.pem"} if tls else {}
        speed = anyio.run(deliver, Syslog(Syslog.Settings.model_validate({**table, **trusted})), records(COUNT))
        server.stop()
    finally:
        server.kill()
    arrived = {line.partition(b'"number":')[2].partition(b"}")[0] for line in server.raw.read_bytes().splitlines()}
    over = "TLS" if tls else "TCP"
    return [
        Figure(f"audit records to rsyslog over {over}, confirmed", speed, "records/s", 5000, relation=">="),
        Figure(
            f"of 20,000 audit records, in rsyslog's file ({over})", len(arrived), "records", COUNT, relation=">="
        ),
    ]


def measure() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        figures += to_file(Path(folder))
    if shutil.which("rsyslogd", path="/usr/sbin") or shutil.which("rsyslogd"):
        for tls in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                figures += to_rsyslog(Path(folder), tls=tls)
    return figures
