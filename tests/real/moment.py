"""Waiting for something that tells nobody when it happens."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import anyio


async def until(happened: Callable[[], Any], within_s: float = 10.0) -> None:
    """Returns once `happened()`, which may be asynchronous, is true; else TimeoutError."""
    with anyio.fail_after(within_s):
        while True:
            found = happened()
            if await found if inspect.isawaitable(found) else found:
                return
            await anyio.sleep(0.005)
