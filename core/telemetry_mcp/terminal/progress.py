"""What doctor is doing, live: on a terminal only, on stderr, and gone before the report is written."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from rich.live import Live
from rich.table import Table
from rich.text import Text

from telemetry_mcp.terminal.doctor import Say
from telemetry_mcp.terminal.table import STYLES, console

PER_S = 8
ENDED = ("ok", "warning", "fault", "off")


@contextmanager
def shown(sources: Sequence[str]) -> Iterator[Say]:
    """A line for every source. Nothing where stderr is not a terminal that can rewrite its lines."""
    screen = console(sys.stderr)
    lines = Lines(sources)
    if not sources or not sys.stderr.isatty() or screen.is_dumb_terminal:
        yield lines.say
        return
    live = Live(
        console=screen,
        get_renderable=lines.drawn,
        transient=True,
        refresh_per_second=PER_S,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with live:
        yield lines.say


class Lines:
    """The sources with what is being done and for how long. Drawn by a thread of its own: keys never change."""

    def __init__(self, sources: Sequence[str]) -> None:
        self.began = monotonic()
        self.doing = dict.fromkeys(sources, "waits")
        self.took: dict[str, float | None] = dict.fromkeys(sources)

    def say(self, source: str, doing: str) -> None:
        self.doing[source] = doing
        if doing in ENDED:
            self.took[source] = monotonic() - self.began

    def drawn(self) -> Table:
        drawn = Table.grid(padding=(0, 2))
        for source, doing in self.doing.items():
            took = self.took[source]
            seconds = monotonic() - self.began if took is None else took
            drawn.add_row(source, Text(doing, style=STYLES.get(doing, "")), f"{seconds:.1f} s")
        return drawn
