"""Text that somebody else wrote: titles, labels, a vendor's error. It is data, never instructions."""

from __future__ import annotations

import unicodedata

LIMIT = 300
# Cc control, Cf format (bidi overrides and isolates, zero width), Co private, Cs surrogates.
UNSAFE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


def plain(text: str, limit: int = LIMIT) -> str:
    """A name without control and bidi characters, its spaces as they are, at most `limit` characters long."""
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    kept = "".join(" " if unicodedata.category(char) in UNSAFE else char for char in text[:limit])
    return kept if len(text) <= limit else kept[: limit - 1] + "…"


def clean(text: str, limit: int = LIMIT) -> str:
    """One line without control and bidi characters, at most `limit` characters long."""
    kept = "".join(" " if unicodedata.category(char) in UNSAFE else char for char in text[: 4 * limit])
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
