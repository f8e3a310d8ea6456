"""A real Redis (or Valkey, which takes the same options)."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.real.program import Program, binary, free_port


class RedisServer(Program):
    """A Redis that keeps nothing on disk, at an address that stays the same when it is started again."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.folder, self.password = folder, password
        self.port = free_port()

    @property
    def url(self) -> str:
        user = f":{self.password}@" if self.password else ""
        return f"redis://{user}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options: dict[str, Any] = {
            "--port": self.port,
            "--bind": "127.0.0.1",
            "--dir": self.folder,
            "--save": "",
            "--appendonly": "no",
            "--logfile": "/dev/stderr",
            **({"--requirepass": self.password} if self.password else {}),
        }
        words = [word for option in options.items() for word in option]
        self.launch([binary("redis-server", "redis-server"), *words], "eady to accept connections")

    def pause(self) -> None:
        """It hangs: connections are taken, and nothing is answered."""
        assert self.process
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process
        os.kill(self.process.pid, signal.SIGCONT)
