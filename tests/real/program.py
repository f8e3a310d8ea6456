"""A server that tests start: its program, brought up on loopback and killed at the end."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence

import pytest

LOWEST_PORT, PAST_PORTS = 10_000, 32_000
CANDIDATES = iter(random.sample(range(LOWEST_PORT, PAST_PORTS), PAST_PORTS - LOWEST_PORT))


def binary(name: str, package: str) -> str:
    """Where a program is. A developer's machine may lack it, the build machine may not."""
    found = shutil.which(name)
    if not found:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"{name} is not installed: apt-get install {package}")
    return str(found)


def free_port() -> int:
    """A port nobody listens on, each given once. It is below those that the kernel gives to connections by itself:
    none of these can take it before its server does."""
    return next(port for port in CANDIDATES if is_free(port))


def is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


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
