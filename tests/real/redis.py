"""A real Redis."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.real.program import Program, binary, free_port


class RedisServer(Program):
    """A Redis that keeps nothing on disk. Started again it listens on the same port, and has forgotten all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns when it accepts connections."""
        command = (binary("redis-server", "redis-server"), "--port", self.port, "--bind", "127.0.0.1")
        stored = ("--save", "", "--appendonly", "no", "--dir", self.folder, "--logfile", "/dev/stderr")
        self.launch((*command, *stored), r"Ready to accept connections")

    def pause(self) -> None:
        """It keeps its connections, and answers nothing."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)
