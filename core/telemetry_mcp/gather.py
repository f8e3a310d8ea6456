"""Several requests of one source at once, such as one a metric, put together into one reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from anyio import create_task_group

from telemetry_mcp.errors import (
    BadQueryError,
    ForbiddenError,
    NotFoundError,
    PlanError,
    ProtocolError,
    SourceError,
)
from telemetry_mcp.model import Reply

T = TypeVar("T")

OWN_FAULT = (BadQueryError, ForbiddenError, NotFoundError, PlanError, ProtocolError)
"""What one request can suffer while the backend is well: the others' answers still count."""


async def gather(calls: Mapping[str, Callable[[], Awaitable[Reply[T]]]]) -> Reply[T]:
    """Run the named calls at the same time and join their replies in the given order.

    A call that fails by its own fault (a bad query, a missing permission) makes the reply partial and is named
    in it. Any other SourceError, or the failure of every call, is raised: the first in the given order.
    """
    replies: dict[str, Reply[T]] = {}
    failures: dict[str, SourceError] = {}

    async def one(name: str, call: Callable[[], Awaitable[Reply[T]]]) -> None:
        try:
            replies[name] = await call()
        except SourceError as error:
            failures[name] = error

    async with create_task_group() as tasks:
        for name, call in calls.items():
            tasks.start_soon(one, name, call)
    in_order = [failures[name] for name in calls if name in failures]
    for error in in_order:
        if not replies or not isinstance(error, OWN_FAULT):
            raise error
    return joined([replies[name] for name in calls if name in replies], failures)


def told(error: SourceError) -> str:
    """The error with its hint, where that says more than every error of its kind does."""
    return str(error) if error.hint == error.default_hint else f"{error} ({error.hint})"


def joined(replies: list[Reply[T]], failures: Mapping[str, SourceError]) -> Reply[T]:
    reasons = [reply.partial for reply in replies if reply.partial]
    reasons += [f"{name}: {told(error)}" for name, error in failures.items()]
    return Reply(
        items=[item for reply in replies for item in reply.items],
        queries=list(dict.fromkeys(query for reply in replies for query in reply.queries)),
        warnings=list(dict.fromkeys(warning for reply in replies for warning in reply.warnings)),
        partial="; ".join(dict.fromkeys(reasons)) or None,
    )
