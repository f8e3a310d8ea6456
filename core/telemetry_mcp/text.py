"""Text that somebody else wrote: titles, labels, a vendor's error. It is data, never instructions."""

from __future__ import annotations

import unicodedata

LIMIT = 300
# Cc control, Cf format (bidi overrides and isolates, zero width), Co private, Cs surrogates.
UNSAFE = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


def plain(text: str, limit: int = LIMIT) -> str:
    """A name without control and bidi characters, its spaces as they are, at most `limit` characters long."""
    kept = safe(text[:limit])
    return kept if len(text) <= limit else kept[: limit - 1] + "…"


def clean(text: str, limit: int = LIMIT) -> str:
    """One line without control and bidi characters, at most `limit` characters long."""
    line = " ".join(safe(text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def safe(text: str) -> str:
    if text.isprintable():  # true of nothing that is unsafe, and a hundred times as fast
        return text
    return "".join(" " if unicodedata.category(char) in UNSAFE else char for char in text)
