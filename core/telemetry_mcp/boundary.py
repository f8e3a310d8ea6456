"""The one place where any exception of somebody else's code is caught and not raised again."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Contained:
    error: BaseException | None = None


OURS = (CancelledError, KeyboardInterrupt, GeneratorExit)
"""What ends a call or the program, where it is raised in the event loop's thread."""


@contextmanager
def contain(*, passing: tuple[type[BaseException], ...] = OURS) -> Iterator[Contained]:
    """Keep the exception that the block raises: `with contain() as kept: ...`, then look at `kept.error`.

    For a plugin's code, being imported by the registry, being asked by the fan-out; and for a task that must go on
    whatever becomes of one piece of its work, which then counts and tells the error. Cancellation and the
    user's Ctrl-C pass; a plugin's sys.exit() does not. In a worker thread neither comes from us: there nothing is
    to pass.
    """
    kept = Contained()
    try:
        yield kept
    except passing:
        raise
    except BaseException as error:  # noqa: BLE001 - a stranger's plugin may raise anything, and the others must live
        kept.error = error


def words(error: BaseException | None) -> str:
    """What an exception says; a stranger's may fail at that too."""
    with contain():
        return str(error)
    return "(and cannot say why)"
