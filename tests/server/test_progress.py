"""What doctor draws on a terminal while it works."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading


def on_a_terminal(*words: str, **environ: str) -> tuple[str, str]:
    """Runs doctor with stderr on a terminal: what came on stdout, and what was drawn."""
    ours, theirs = pty.openpty()
    drawn = bytearray()

    def draw() -> None:
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # how a terminal ends on Linux
                return
            drawn.extend(piece)
            if not piece:
                return

    reader = threading.Thread(target=draw)
    reader.start()
    ended = subprocess.run(
        [sys.executable, "-m", "telemetry_mcp", "doctor", "--demo", *words],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", **environ},
        text=True,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    return ended.stdout, drawn.decode()


def test_progress_is_drawn_on_the_terminal_and_never_on_stdout() -> None:
    out, drawn = on_a_terminal()
    assert "asks for permissions and metrics" in drawn
    assert all(source in drawn for source in ("prometheus", "datadog", "newrelic", "pagerduty"))
    assert "\x1b" not in out
    assert "asks for permissions" not in out


def test_progress_without_colours_is_drawn_in_ascii() -> None:
    _, drawn = on_a_terminal(NO_COLOR="1")
    assert drawn.isascii()
    assert "\x1b[3" not in drawn


def test_no_progress_is_drawn_for_json_or_where_lines_cannot_be_rewritten() -> None:
    assert on_a_terminal("--json")[1] == ""
    assert on_a_terminal(TERM="dumb")[1] == ""
