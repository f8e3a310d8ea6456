"""Python values as TOML writes them: for lines that a user pastes, and for the plugins.toml of a contract test."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, time
from typing import Any

BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml(value: Any) -> str:
    """A value. A text without a quote is written as a literal, since queries are full of the other kind."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{bare(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    text = str(value)
    return f"'{text}'" if '"' in text and "'" not in text and text.isprintable() else quoted(text)


def bare(key: str) -> str:
    """A key, in quotes only where it needs them."""
    return key if BARE.fullmatch(key) else quoted(key)


def quoted(text: str) -> str:
    """A JSON string is a TOML string."""
    return json.dumps(text, ensure_ascii=False)
