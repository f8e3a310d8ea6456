"""Text that somebody else wrote: titles, labels, a vendor's error. It is data, never instructions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

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


def cleaned(text: str | None, limit: int = LIMIT) -> str | None:
    """The same of what may be missing or empty: None then."""
    return clean(text, limit) if text else None


def few(names: Sequence[str], most: int) -> str:
    """The first `most` of them in a sentence, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def capped(rows: list[str], most: int) -> list[str]:
    """`most` rows at most; the last one says how many more there are."""
    return rows if len(rows) <= most else [*rows[: most - 1], f"and {len(rows) - most + 1} more"]


def safe(text: str) -> str:
    if text.isprintable():  # true of nothing that is unsafe, and a hundred times as fast
        return text
    return "".join(" " if unicodedata.category(char) in UNSAFE else char for char in text)
