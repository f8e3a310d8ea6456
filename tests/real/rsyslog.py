"""A real rsyslogd that takes RFC 5424 over TCP or TLS and writes what it got into files."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.real.program import Program, binary, free_port

MODULES = Path("/usr/lib/x86_64-linux-gnu/rsyslog"), Path("/usr/lib/rsyslog"), Path("/usr/lib64/rsyslog")
START_S = 10.0

KEEPING = 'main_queue(queue.type="Direct")'
"""What README.md of the plugin tells whoever runs rsyslog: with its own queue it loses at a stop what is in it."""

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
ruleset(name="kept") {{
  action(type="omfile" file="{folder}/raw" template="raw")
  action(type="omfile" file="{folder}/fields" template="fields")
}}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="kept")
"""
DRIVER = 'streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="{mode}"'
FILES = (
    'defaultNetstreamDriverCAFile="{0}/ca.pem" defaultNetstreamDriverCertFile="{0}/server.pem" '
    'defaultNetstreamDriverKeyFile="{0}/server.key"'
)


class RsyslogServer(Program):
    """`raw` are the messages as they came, `fields` what it understood of them, as JSON lines.

    With `tls` it uses ca.pem, server.pem and server.key, which must be in `folder`; `clients`: it wants a certificate.
    """

    def __init__(self, folder: Path, *, tls: bool = False, clients: bool = False, queue: str = KEEPING) -> None:
        self.folder = folder
        self.port = free_port()
        if tls and not any((modules / "lmnsd_ossl.so").exists() for modules in MODULES):
            pytest.skip("rsyslog has no TLS: apt-get install rsyslog-openssl")
        driver = DRIVER.format(mode="x509/certvalid" if clients else "anon") if tls else ""
        (folder / "rsyslog.conf").write_text(
            CONFIG.format(
                folder=folder,
                port=self.port,
                driver=driver,
                tls=FILES.format(folder) if tls else "",
                queue=queue,
            )
        )

    def start(self) -> None:
        """Start, or start again at the same port; returns when it listens."""
        program = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
        command = [
            program or binary("rsyslogd", "rsyslog rsyslog-openssl"),
            *("-n", "-f", str(self.folder / "rsyslog.conf"), "-i", str(self.folder / "pid")),
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=(self.folder / "log").open("a"), text=True
        )
        print(command)

    def stop(self) -> None:
        """SIGTERM, as a package's upgrade or an orchestrator does it."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.process = None
