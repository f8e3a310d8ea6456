"""Several accounts behind one source: asked at once, and one that fails leaves the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from telemetry_mcp import AuthError, Reply, SourceError, gather

T = TypeVar("T")


def listed(value: Any) -> Any:
    """One account, several, or several in a text as an environment variable has them; each once."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    return list(dict.fromkeys(parts))


async def across(accounts: Sequence[int], ask: Callable[[int], Awaitable[Reply[T]]]) -> Reply[T]:
    """The accounts' replies together. What one of several fails with makes the reply partial.

    Raises AuthError, since all share the key, and the first failure when every account fails.
    """
    if len(accounts) == 1:
        return await ask(accounts[0])
    if not accounts:
        return Reply()
    failures: list[SourceError] = []

    async def one(account: int) -> Reply[T]:
        try:
            return await ask(account)
        except AuthError:
            raise
        except SourceError as error:
            failures.append(error)
            return Reply(partial=f"account {account}: {error}")

    reply = await gather({str(account): partial(one, account) for account in accounts})
    if len(failures) == len(accounts):
        raise failures[0]
    return reply


def within(accounts: Sequence[int]) -> str:
    """The condition of an entity search for these accounts."""
    return f"accountId IN ({', '.join(str(account) for account in accounts)})"
