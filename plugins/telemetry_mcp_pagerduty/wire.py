"""What all of PagerDuty's JSON has in common: texts, times, references, pages, errors. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from telemetry_mcp import HttpReply, ProtocolError, SourceError, clean, error_for_status, parse_json, retry_after
from telemetry_mcp_pagerduty.secret import is_secret, without_secrets

MEANT = {2006: 401, 2010: 403, 2012: 401, 2014: 402, 2016: 408, 2020: 429, 2100: 404}
"""PagerDuty's error code -> the status that it means, where it comes with a plain 400."""
LAST_MS = 253_402_300_799_000
"""The end of the year 9999."""
MARGIN = 600
DEEPEST = 4
MOST = 20
LONGEST = 600
"""How far into somebody's own details is looked, and how many of them, or how much, is repeated."""


def text(value: Any, limit: int = 300) -> str:
    """Somebody else's words on one line, without credentials; nothing for what is neither text nor number."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    # A little more than is shown is looked at, so that no credential is cut in two where it could still be seen.
    return clean(without_secrets(str(value)[: 4 * limit + MARGIN]), limit)


def flat(value: Any, depth: int = 0) -> str:
    """Free-form details, a text or nested lists and objects, in one line, without the members of secrets."""
    if depth > DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        told = ((name, item) for name, item in value.items() if not is_secret(name))
        return joined(f"{text(name)}: {words}" for name, item in told if (words := flat(item, depth + 1)))
    if isinstance(value, list):
        return joined(words for item in value if (words := flat(item, depth + 1)))
    return str(value).lower() if isinstance(value, bool) else text(value)


def joined(pieces: Iterable[str]) -> str:
    """The first pieces, as many as a reader wants."""
    kept, size = [], 0
    for piece in islice(pieces, MOST):
        kept.append(piece)
        size += len(piece)
        if size > LONGEST:
            break
    return ", ".join(kept)


def mapping(value: Any) -> dict[str, Any]:
    """An object, or an empty one for null and whatever else stands in its place."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none for null and whatever else stands in its place."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def summary(reference: Any) -> str | None:
    """The name of a reference or of the expanded object in its place."""
    known = mapping(reference)
    return text(known.get("summary")) or text(known.get("name")) or None


def identity(reference: Any) -> str:
    return text(mapping(reference).get("id"))


def link(entry: Mapping[str, Any], name: str = "html_url") -> str | None:
    url = text(entry.get(name), 1000)
    return url if url.startswith(("https://", "http://")) else None


def epoch_ms(value: Any) -> int | None:
    """RFC 3339 in any time zone to epoch ms; None for null, for what cannot be read and for before 1970."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None:
            return None
        at_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return at_ms if 0 <= at_ms <= LAST_MS else None


def rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(max(0, time_ms) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def between(start_ms: int, end_ms: int) -> dict[str, str]:
    """The parameters of a stretch of time; PagerDuty knows whole seconds, so its end is rounded up."""
    return {"since": rfc3339(start_ms), "until": rfc3339(end_ms + 999)}


def number(value: Any) -> int | None:
    """A count or a code; some come as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 19 else None


def page(body: Mapping[str, Any], name: str) -> tuple[list[Any], bool | None]:
    """The entries of a page in classic paging, and whether there are more: None where it is not said.

    Raises ProtocolError.
    """
    entries = body.get(name)
    if not isinstance(entries, list):
        raise ProtocolError(f"the answer has no list of {name}")
    more = body.get("more")
    return entries, None if more is None else more in (True, "true")


def error_of(reply: HttpReply) -> SourceError:
    """The error that an answer means, in PagerDuty's words: `error` is an object, a list or a text."""
    try:
        body = parse_json(reply.body)
    except ProtocolError:
        body = re.sub(r"<[^>]*>", " ", reply.body[:2000].decode("utf-8", "replace"))
    error = (body.get("error") or body.get("message")) if isinstance(body, dict) else body
    code = number(mapping(error).get("code"))
    said = text("; ".join(words(error)))
    status = MEANT.get(code or 0, reply.status) if reply.status == 400 else reply.status
    noted = f"{said} (code {code})" if code else said
    return error_for_status(status, noted, retry_after_s=retry_after(reply.headers))


def words(error: Any, depth: int = 0) -> list[str]:
    if depth > DEEPEST:
        return []
    if isinstance(error, list):
        return [word for item in error[:MOST] for word in words(item, depth + 1)]
    if isinstance(error, dict):
        return words(error.get("message"), depth + 1) + words(error.get("errors"), depth + 1)
    return [str(error)] if error else []
