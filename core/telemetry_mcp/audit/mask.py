"""What callers wrote, as it may be kept: without secrets, without control characters, and not endlessly long."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

from telemetry_mcp import credential
from telemetry_mcp.boundary import words
from telemetry_mcp.text import LIMIT, plain

HIDDEN = "***"
CUT = "…"
LOOKED_AT = 4 * LIMIT
"""Characters of a text that are searched: more than is kept, so that a secret is not cut beyond recognition."""
MOST_VALUES = 200
DEEPEST = 6
GREATEST = 2**63 - 1

WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
SECRET_WORDS = frozenset(
    (
        *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "tokens", "apikey", "appkey"),
        *("authorization", "auth", "credential", "credentials", "cookie", "bearer", "jwt", "signature", "pin"),
    )
)
SECRET_KEYS = frozenset(
    ("api", "app", "access", "private", "secret", "license", "routing", "signing", "encryption")
)
"""What makes a secret of the word `key` behind it."""

SAID_SECRET = re.compile(
    r"""(?ix)
    (?P<said> \b(?:bearer|basic)\s+
      | (?:password|passwd|pwd|secret|token|api[_-]?key)["']?\s{0,9}[=:]\s{0,9}["']? )
    (?!\*\*\*) [^\s"'&,;(){}\[\]]{6,}
    """
)
"""What stands behind a word that announces a secret."""
ANNOUNCING = frozenset("=: \t\n")
IN_URL = re.compile(r"(?P<said>://[^/\s:@]{0,100}:)[^@/\s]{1,200}@")


def masked(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments` as they are written down: values of names that look secret and secrets inside text are hidden,
    text is cut after 300 characters, and of very many values the rest is left out. It comes out as plain JSON."""
    left = Left(MOST_VALUES)
    return {plain(str(name)): left.value(name, value, 1) for name, value in left.some(arguments.items())}


def masked_text(text: str) -> str:
    """One text as it is written down."""
    found = text[:LOOKED_AT]
    found = credential.MAYBE.sub(HIDDEN, found)
    if "@" in found:
        found = IN_URL.sub(rf"\g<said>{HIDDEN}@", found)
    if not ANNOUNCING.isdisjoint(found):
        found = SAID_SECRET.sub(rf"\g<said>{HIDDEN}", found)
    return plain(found if len(text) <= LOOKED_AT else found + CUT)


def told(error: BaseException | None, redact: Callable[[str], str] = str) -> str:
    """What went wrong, as it may be logged: one line. `redact` takes out the secrets that are known."""
    return masked_text(redact(f"{type(error).__name__}: {words(error)}"))


@lru_cache(1000)
def is_secret(name: str) -> bool:
    """Whether a value of this name is one that nobody should see: `api_key`, `dbPassword`, `X-Auth-Token`."""
    words = [word.lower() for word in WORD.split(name[:LIMIT]) if word]
    keys = any(word == "key" and before in SECRET_KEYS for before, word in pairwise(words))
    return keys or not SECRET_WORDS.isdisjoint(words)


class Left:
    """How many values may still be written of one question."""

    def __init__(self, values: int) -> None:
        self.values = values

    def some(self, items: Any) -> Any:
        for item in items:
            if self.values <= 0:
                return
            self.values -= 1
            yield item

    def value(self, name: str, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return value if -GREATEST <= value <= GREATEST else masked_text(f"{value:#x}")
        if is_secret(name):
            return HIDDEN
        if isinstance(value, str):
            return masked_text(value)
        if depth >= DEEPEST:
            return CUT
        if isinstance(value, Mapping):
            return {
                plain(str(key)): self.value(str(key), inner, depth + 1) for key, inner in self.some(value.items())
            }
        if isinstance(value, list | tuple):
            return [self.value(name, inner, depth + 1) for inner in self.some(value)]
        return masked_text(str(value))
