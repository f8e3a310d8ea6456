"""A real PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import trustme

from tests.real.program import binary, free_port
from tests.real.sample import ODD_NAMES, SERVICES

ACCESS = """local all all trust
host all turned_away 127.0.0.1/32 reject
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


class PostgresServer:
    """A PostgreSQL with TLS. Its `postgres` needs no password, `turned_away` is refused, others need theirs.

    `now_ms` is the end of its data: a day of `metrics.samples` (ts, service, host, metric, value), every minute.
    """

    services = SERVICES
    odd_names = ODD_NAMES
    reader = "telemetry_reader"
    password = "pg-secret-of-test"

    def __init__(self, folder: Path, now_ms: int = 0) -> None:
        self.folder, self.now_ms = folder, now_ms
        self.data, self.sockets = folder / "data", folder
        self.owner = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        self.port, self.ca_file = free_port(), folder / "ca.pem"
        self.certify(folder / "server.pem")
        self.create()

    def certify(self, key: Path) -> None:
        """A certificate of an authority of its own; PostgreSQL wants the key to be its owner's alone."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(key)
        if self.owner:
            shutil.chown(self.folder, self.owner)
            shutil.chown(key, self.owner)
        key.chmod(0o600)

    def create(self) -> None:
        """An empty data directory, and its configuration."""
        self.run(
            "initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync"
        )
        (self.data / "pg_hba.conf").write_text(ACCESS)
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.sockets,
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": self.folder / "server.pem",
            "ssl_key_file": self.folder / "server.pem",
            "timezone": "America/New_York",
        }
        with (self.data / "postgresql.conf").open("a") as config:
            config.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def run(self, program: str, *arguments: object, text: str | None = None) -> str:
        """Run one of PostgreSQL's programs as its owner; what it printed."""
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}")) if not shutil.which(program) else []
        command = [str(found[-1]) if found else binary(program, "postgresql"), *map(str, arguments)]
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, user=self.owner, cwd=self.folder, check=False
        )
        assert done.returncode == 0, f"{program}: {done.stderr or done.stdout}"
        return done.stdout

    def start(self) -> None:
        """Start, or start again at the same port with the same data; returns when it answers."""
        self.run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-s", "start")

    def sql(self, text: str) -> str:
        """Let psql run statements as the superuser; rows as lines, columns apart by |."""
        where = ("-h", self.sockets, "-p", self.port, "-U", "postgres", "-d", "postgres")
        return self.run("psql", *where, "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-", text=text).strip()

    def kill(self) -> None:
        """Stop without a goodbye to anybody."""
        if (self.data / "postmaster.pid").exists():
            self.run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "-s", "stop")
