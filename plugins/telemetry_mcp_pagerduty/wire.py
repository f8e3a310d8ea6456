"""PagerDuty's JSON and ours: pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from telemetry_mcp import (
    HttpReply,
    Incident,
    ProtocolError,
    Service,
    SourceError,
    clean,
    error_for_status,
    parse_json,
    retry_after,
)

STATUSES = ("triggered", "acknowledged", "resolved")
MEANT = {2006: 401, 2010: 403, 2012: 401, 2014: 402, 2016: 408, 2020: 429, 2100: 404}
"""PagerDuty's error code -> the status that it means, where it comes with a plain 400."""
STATUS = {"active": "OK", "warning": "WARNING", "critical": "CRITICAL"}
# An Events v2 key is R and 31 more; the older ones are hex, as harmless hashes are, so only where named as keys.
ROUTING_KEY = re.compile(r"\bR[0-9A-Z]{31}\b|(?i:(?<=_key)\W{1,4}[0-9a-f]{32}\b)")
HIDDEN = "***"


def text(value: Any, limit: int = 300) -> str:
    """Somebody else's words on one line, with the keys that open an integration taken out."""
    return clean(ROUTING_KEY.sub(HIDDEN, str(value)[: 4 * limit]), limit) if value is not None else ""


def error_of(reply: HttpReply) -> SourceError:
    """The error that an answer means, in PagerDuty's words: `error` is an object, a list or a text."""
    try:
        body = parse_json(reply.body)
    except ProtocolError:
        body = re.sub(r"<[^>]*>", " ", reply.body[:2000].decode("utf-8", "replace"))
    error = body.get("error", body.get("message")) if isinstance(body, dict) else body
    code = number(error.get("code")) if isinstance(error, dict) else None
    said = text("; ".join(words(error)))
    status = MEANT.get(code or 0, reply.status) if reply.status == 400 else reply.status
    noted = f"{said} (code {code})" if code else said
    return error_for_status(status, noted, retry_after_s=retry_after(reply.headers))


def words(error: Any) -> list[str]:
    if isinstance(error, list):
        return [word for item in error for word in words(item)]
    if isinstance(error, dict):
        return words(error.get("message")) + words(error.get("errors"))
    return [str(error)] if error else []


def number(value: Any) -> int | None:
    """An error code; some come as text."""
    return int(value) if str(value).isdigit() else None


def page(body: Any, name: str) -> tuple[list[dict[str, Any]], bool]:
    """The entries of a page in classic paging, and whether more are there. Raises ProtocolError."""
    entries = body.get(name) if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise ProtocolError(f"the answer has no list of {name}")
    return [entry for entry in entries if isinstance(entry, dict)], body.get("more") is True


def epoch_ms(value: Any) -> int | None:
    """RFC 3339 in any time zone to epoch ms; None for null and for what cannot be read."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def incident(entry: Mapping[str, Any]) -> Incident | None:
    """One incident; None when nothing says when it was opened."""
    opened_ms = epoch_ms(entry.get("created_at"))
    if opened_ms is None:
        return None
    status = text(entry.get("status")) or "triggered"
    resolved = entry.get("resolved_at") or (entry.get("last_status_change_at") if status == "resolved" else None)
    listed = entry.get("acknowledgements")
    acknowledged = [epoch_ms(item.get("at")) for item in listed or [] if isinstance(item, dict)]
    return Incident(
        id=text(entry.get("id") or entry.get("incident_number")),
        title=text(entry.get("title") or entry.get("summary")) or "(without a title)",
        status=status,
        opened_ms=opened_ms,
        service=summary(entry.get("service")),
        urgency=text(entry.get("urgency")) or None,
        severity=summary(entry.get("priority")),
        acknowledged_ms=min((at for at in acknowledged if at is not None), default=None),
        resolved_ms=epoch_ms(resolved) if status == "resolved" else None,
        url=link(entry),
    )


def service(entry: Mapping[str, Any]) -> Service:
    """One service. `status` is OK, WARNING (acknowledged), CRITICAL (triggered), MAINTENANCE or DISABLED."""
    teams = entry.get("teams")
    status = text(entry.get("status"))
    return Service(
        text(entry.get("name") or entry.get("summary")),
        team=summary(teams[0]) if isinstance(teams, list) and teams else None,
        status=STATUS.get(status, status.upper()) or None,
        url=link(entry),
    )


def summary(reference: Any) -> str | None:
    """The name of a reference or of the expanded object in its place."""
    if not isinstance(reference, dict):
        return None
    return text(reference.get("summary") or reference.get("name")) or None


def link(entry: Mapping[str, Any]) -> str | None:
    url = text(entry.get("html_url"), 1000)
    return url if url.startswith(("https://", "http://")) else None
