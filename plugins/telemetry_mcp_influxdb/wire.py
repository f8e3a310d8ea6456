"""What the three APIs share: a request, and what a refusal means. Nothing here does I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from telemetry_mcp import (
    BadQueryError,
    ForbiddenError,
    HttpReply,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    clean,
    error_for_status,
    parse_json,
    retry_after,
)

SMALLER = "ask for a shorter window, a longer step or fewer services"

# In this order: "max-concurrent-queries limit exceeded" is no fault of the query, other limits are.
MEANINGS: tuple[tuple[str, type[SourceError], str], ...] = (
    (r"max-concurrent-queries|too many requests|rate limit", RateLimitedError, ""),
    (r"time[- ]?out|timed out|deadline exceeded", SourceTimeoutError, ""),
    (r"authoriz|forbidden|permission", ForbiddenError, ""),
    (
        r"(?:database|retention policy|bucket|organization).{0,200}not found|(?:find|unknown) (?:bucket|database)",
        NotFoundError,
        "check database, retention_policy, bucket and org of this source in plugins.toml",
    ),
    (r"max-select|limit exceeded|exceeds? .{0,40}limit|memory|too (?:many|large)", BadQueryError, SMALLER),
    (r"\bshard|\bengine\b|interrupted|killed|closed|unavailable|panic|internal error", UpstreamError, ""),
)
"""Words of an error that came without a status of its own -> our error and its hint. Any other: a bad query."""

PLANNING = re.compile(r"planning|schema error|sql error|table .{0,200}not found", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """A POST of one of the query APIs."""

    path: str
    params: Mapping[str, str] | None = None
    form: Mapping[str, str] | None = None
    json: Mapping[str, Any] | None = None


def refusal(words: str) -> SourceError:
    """The error that came inside an answer whose status was good."""
    for pattern, kind, hint in MEANINGS:
        if re.search(pattern, words, re.IGNORECASE):
            return kind(clean(words), hint=hint)
    return BadQueryError(clean(words) or "an error without a word of why")


def failure(reply: HttpReply) -> SourceError:
    """The error that a reply outside 2xx means, in InfluxDB's own words where it has any."""
    words = words_of(reply.body)
    if reply.status >= 500 and words and PLANNING.search(words):
        return BadQueryError(f"HTTP {reply.status}: {clean(words)}")
    told = words or reply.body[:600].decode("utf-8", "replace")
    error = error_for_status(reply.status, told, retry_after_s=retry_after(reply.headers))
    if isinstance(error, NotFoundError):
        error.hint = (
            "check database, bucket and org of this source in plugins.toml"
            if words
            else "no such API at this url: is its path right, and is `version` that of the server?"
        )
    return error


def words_of(body: bytes) -> str:
    """What an error's JSON says: 1.x and 3.x call it `error`, 2.x `message`. Empty where it is no such JSON."""
    try:
        told = parse_json(body)
    except ProtocolError:
        return ""
    if not isinstance(told, dict):
        return ""
    return str(told.get("error") or told.get("message") or "")
