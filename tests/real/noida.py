"""NOT Elasticsearch: noida-db, an emulator of it from PyPI (one author, pinned); no registry here has the product.
It keeps documents, knows data streams, mappings and versions, and answers as 8.15 does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.real.program import Program, free_port

PACKAGE = "noida-db==0.2.3"
INSTALL_S = 60


def installed() -> Path:
    """The emulator's program, installed once into a folder of the user's cache: it is no dependency of ours."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "telemetry-mcp" / PACKAGE.replace("==", "-")
    program = folder / "noida_db" / "noida-db"
    if not program.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), PACKAGE]
        try:
            subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_S, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            say = pytest.fail if os.environ.get("CI") else pytest.skip
            say(f"{PACKAGE}, an emulator of Elasticsearch, cannot be installed: {error.stderr!r}")
    return program


class NoidaServer(Program):
    """An empty emulated Elasticsearch."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            *(installed(), "start", "--host", "127.0.0.1", "--data-dir", self.folder),
            *("--only", "elasticsearch", "--elasticsearch-port", self.port),
        ]
        # It says that it is ready on stdout, which nobody reads: its first answer says so, too.
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
        )
        transport = httpx.HTTPTransport(retries=10)  # of the connection, half a second and more apart
        with httpx.Client(transport=transport) as client:
            client.get(self.url).raise_for_status()

    def put(self, path: str, document: Any) -> None:
        httpx.put(f"{self.url}/{path}", json=document).raise_for_status()

    def ids(self, index: str) -> list[str]:
        """Of everything in it."""
        httpx.post(f"{self.url}/{index}/_refresh").raise_for_status()
        asked = {"size": 10_000, "_source": False}
        answer = httpx.post(f"{self.url}/{index}/_search", json=asked)
        return [hit["_id"] for hit in answer.json()["hits"]["hits"]]

    def count(self, index: str) -> int:
        httpx.post(f"{self.url}/{index}/_refresh").raise_for_status()
        return int(httpx.get(f"{self.url}/{index}/_count").json()["count"])
