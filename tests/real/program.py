"""A server that tests start: its program, brought up on loopback and killed at the end."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence

import pytest


def binary(name: str, package: str) -> str:
    """Where a program is. A developer's machine may lack it, the build machine may not."""
    found = shutil.which(name)
    if not found:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"{name} is not installed: apt-get install {package}")
    return str(found)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Program:
    """A server in the foreground of a process of its own, which logs to stderr."""

    process: subprocess.Popen[str] | None = None

    def launch(
        self, command: Sequence[object], ready: str, environ: Mapping[str, str] | None = None
    ) -> re.Match[str]:
        """Returns when a line of its log matches `ready`, with the match. Fails with the log when none does."""
        self.process = subprocess.Popen(
            list(map(str, command)),
            env={**os.environ, **(environ or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        said = []
        for line in self.process.stderr:
            said.append(line)
            if found := re.search(ready, line):
                return found
        self.kill()
        pytest.fail(f"{command[0]} did not start:\n" + "".join(said[-5:]))

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None
