"""How a command ends whatever a plugin does: stdout holds the command's own words only, and the process ends."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from threading import Timer
from typing import TextIO

LAST_S = 1.0
"""What is left for closing down once everything is said."""


class Ending:
    """`out` is the true stdout, `code` the exit code once something was told."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.code = 0
        self.timer: Timer | None = None

    def tell(self, say: Callable[[TextIO], int]) -> None:
        """Let `say` write the answer and return the exit code; from then on LAST_S are left to close down."""
        try:
            self.code = say(self.out)
            self.out.flush()
        except BrokenPipeError:
            self.code = 1
        self.timer = end_within(LAST_S, self.code)


@contextmanager
def ending() -> Iterator[Ending]:
    """For a command that asks plugins. Within the block stdout is stderr, but for what `Ending.tell` writes."""
    with aside() as out:
        made = Ending(out)
        try:
            yield made
        finally:
            if made.timer is not None:
                made.timer.cancel()


@contextmanager
def aside() -> Iterator[TextIO]:
    """Within the block sys.stdout and file descriptor 1 are stderr, for everybody; yields the true stdout."""
    true = sys.stdout
    with redirect_stdout(sys.stderr):
        if not is_descriptor_1(true):
            yield true
            return
        true.flush()
        kept = os.dup(1)
        out = os.fdopen(kept, "w", encoding=true.encoding, errors=true.errors)
        os.dup2(2, 1)
        try:
            yield out
        finally:
            # Whoever still holds the true sys.stdout has buffered in it what is not ours.
            with suppress(OSError):
                true.flush()
            with suppress(BrokenPipeError):
                out.flush()
            os.dup2(kept, 1)
            with suppress(BrokenPipeError):
                out.close()


def is_descriptor_1(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() == 1
    except (io.UnsupportedOperation, ValueError):
        return False


def end_within(seconds: float, code: int = 1) -> Timer:
    """The last resort: what ignores cancellation, or blocks a thread, must not keep the process from ending."""
    timer = Timer(seconds, leave, (code,))
    timer.daemon = True
    timer.start()
    return timer


def leave(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
