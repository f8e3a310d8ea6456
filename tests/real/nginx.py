"""A real nginx in front of instances, with the configuration that deploy/ recommends."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.real.program import Program, binary, free_port

RECOMMENDED = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx(Program):
    """Balances over the ports of instances on loopback. Everything that it writes is in `folder`."""

    def __init__(self, folder: Path, ports: Sequence[int], *, retries: bool = True) -> None:
        self.folder, self.ports, self.retries = folder, ports, retries
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def config(self) -> str:
        """The recommended one, for these addresses and for whoever runs the test."""
        text = RECOMMENDED.read_text(encoding="utf-8")
        (first, *others) = re.findall(r" *server 127\.0\.0\.1:\d+ .*\n", text)
        for other in others:
            text = text.replace(other, "")
        text = text.replace(first, "".join(re.sub(r":\d+", f":{port}", first) for port in self.ports))
        text = text.replace("listen 127.0.0.1:8080;", f"listen 127.0.0.1:{self.port};")
        if not self.retries:
            text = re.sub(r"proxy_next_upstream .*;", "proxy_next_upstream off;", text)
        kept = "".join(f"{kind}_temp_path {self.folder / kind};\n" for kind in TEMPORARY)
        # Not to stderr, which nobody reads any more once it has started: a full pipe would stop it.
        kept += f"error_log {self.folder / 'error.log'};\n"
        own = f"daemon off;\npid {self.folder / 'pid'};\nworker_processes 1;\n"
        return own + text.replace("worker_processes auto;\n", "").replace("http {\n", "http {\n" + kept, 1)

    def start(self) -> None:
        path = self.folder / "nginx.conf"
        path.write_text(self.config(), encoding="utf-8")
        program = binary(shutil.which("nginx") or "/usr/sbin/nginx", "nginx-light")
        self.launch(
            [program, "-c", path, "-p", self.folder, "-e", "stderr", "-g", "error_log stderr notice;"],
            "start worker process ",
        )

    def kill(self) -> None:
        """By its own way to end at once: a master that is killed leaves its worker behind."""
        if self.process:
            self.process.terminate()
            self.process.communicate(timeout=10)
            self.process = None
