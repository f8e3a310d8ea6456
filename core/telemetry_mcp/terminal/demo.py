"""`telemetry-mcp demo`: the embedded estate, and five conversations with it, or one incident."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from threading import Timer

import anyio
from mcp import Client
from rich.console import Console
from rich.text import Text

from telemetry_mcp.config import Config
from telemetry_mcp.terminal.conversation import CONVERSATIONS, Told
from telemetry_mcp.terminal.desk import Asked, Desk
from telemetry_mcp.terminal.ending import LAST_S, end_within
from telemetry_mcp.terminal.incident import INCIDENT
from telemetry_mcp.terminal.serve import listening, serve_on
from telemetry_mcp.terminal.table import ascii_only, console, coverage, indented
from telemetry_mcp.terminal.target import Target, configuration, server_over

Conversations = Sequence[tuple[str, Callable[[Desk], Awaitable[Told]]]]

NEXT = """\
Next: the same estate in your own client
  telemetry-mcp connect claude-desktop --demo --write
the same estate over HTTP
  telemetry-mcp demo --serve
your own sources
  telemetry-mcp doctor --config plugins.toml"""


def run(target: Target, *, serve: bool = False, port: int | None = None, color: bool = True) -> None:
    """Answer the conversations on stdout; with `serve`, go on over HTTP until a signal comes.

    Raises CommandError when the port cannot be had, before anything is answered.
    """
    out = console(color=color)
    with target.estate() as estate:
        config = configuration(estate)
        sock = listening(config, None, port) if serve else None
        asked = INCIDENT if target.incident else CONVERSATIONS
        anyio.run(converse, config, estate.clock(), out, asked).cancel()
        if sock is None:
            out.print(NEXT)
            return
        out.print("The same estate for your own client: telemetry-mcp connect claude-code --http URL")
        with sock:
            serve_on(config, sock)


async def converse(config: Config, now_ms: int, out: Console, conversations: Conversations) -> Timer:
    """Everything that is told; returns the last resort that leaving the sources stands under."""
    async with Client(server_over(config)) as client:
        desk = Desk(client, now_ms, ascii_only(out))
        for number, (question, answer) in enumerate(conversations, start=1):
            await one(number, question, answer, desk, out)
        return end_within(LAST_S, 0)


async def one(
    number: int, question: str, answer: Callable[[Desk], Awaitable[Told]], desk: Desk, out: Console
) -> None:
    out.print(Text(f"{number}. {question}", style="bold"))
    told = await answer(desk)
    for asked in told.calls:
        call(asked, out)
    for shown in told.shown:
        out.print()
        out.print(indented(shown))
    out.print()
    for fact in told.facts:
        out.print(indented(Text(fact)))
    out.print()


def call(asked: Asked, out: Console) -> None:
    """The call as it was made, and its ledger in a line: every source is in it."""
    out.print(indented(Text(f"> {asked.call}", style="cyan")))
    if asked.ledger:
        out.print(indented(Text(coverage(asked.ledger), style="dim"), by=4))
    if trouble := asked.error or asked.gap:
        out.print(indented(Text(trouble, style="yellow"), by=4))
