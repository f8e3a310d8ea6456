"""A real rsyslogd that takes RFC 5424 over TCP or TLS and writes what it got into files."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.real.program import Program, binary, free_port

MODULES = (Path("/usr/lib/x86_64-linux-gnu/rsyslog"), Path("/usr/lib/rsyslog"), Path("/usr/lib64/rsyslog"))
START_S = 10.0

DIRECT = 'main_queue(queue.type="Direct")'
SAVING = 'main_queue(queue.type="LinkedList" queue.filename="waiting" queue.saveOnShutdown="on"{more})'
"""The two that lose nothing at a stop; the plugin's README.md tells them to whoever runs rsyslog."""
USUAL = 'main_queue(queue.type="FixedArray"{more})'
"""What rsyslog has where nothing is said."""
SLOW = ' queue.timeoutShutdown="10" queue.dequeueSlowdown="20000" queue.dequeueBatchSize="16"'
"""Ends at once when it is told to, and is far behind then."""

CONFIG = """\
global(workDirectory="{folder}" maxMessageSize="64k" net.enableDNS="off" {tls})
module(load="imtcp" {driver})
{queue}
template(name="raw" type="string" string="%rawmsg%\\n")
template(name="fields" type="list" option.jsonf="on") {{
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="process" name="procid" format="jsonf")
  property(outname="id" name="msgid" format="jsonf")
  property(outname="facility" name="syslogfacility" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="at" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}}
action(type="omfile" file="{folder}/raw" template="raw")
action(type="omfile" file="{folder}/fields" template="fields")
input(type="imtcp" address="127.0.0.1" port="{port}")
"""
DRIVER = 'streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="{mode}"'
FILES = (
    'defaultNetstreamDriverCAFile="{0}/ca.pem" defaultNetstreamDriverCertFile="{0}/server.pem" '
    'defaultNetstreamDriverKeyFile="{0}/server.key"'
)


class RsyslogServer(Program):
    """`raw` are the messages as they came, `fields` what it understood of them, as JSON lines.

    With `tls` it uses ca.pem, server.pem and server.key, which must be in `folder`; with `clients` whoever sends
    must have a certificate of that authority.
    """

    def __init__(self, folder: Path, *, tls: bool = False, clients: bool = False, queue: str = DIRECT) -> None:
        self.folder, self.port = folder, free_port()
        self.raw, self.fields, self.log = folder / "raw", folder / "fields", folder / "log"
        if tls and not any((modules / "lmnsd_ossl.so").exists() for modules in MODULES):
            say = pytest.fail if os.environ.get("CI") else pytest.skip
            say("rsyslog has no TLS: apt-get install rsyslog-openssl")
        driver = DRIVER.format(mode="x509/certvalid" if clients else "anon") if tls else ""
        files = FILES.format(folder) if tls else ""
        (folder / "rsyslog.conf").write_text(
            CONFIG.format(folder=folder, port=self.port, driver=driver, tls=files, queue=queue)
        )

    def start(self) -> None:
        """Start, or start again at the same port with the same files; returns when it listens."""
        # In /usr/sbin, which a user's PATH may lack. It says nothing at its start: there is no line to await.
        program = shutil.which("rsyslogd", path="/usr/sbin") or binary("rsyslogd", "rsyslog rsyslog-openssl")
        command = [program, "-n", "-f", str(self.folder / "rsyslog.conf"), "-i", str(self.folder / "pid")]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, text=True)
        deadline = time.monotonic() + START_S
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"rsyslogd did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """SIGTERM, as an upgrade of its package does it; returns when it has ended."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.process = None
