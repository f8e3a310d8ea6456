"""A record as one line of JSON, with the field names of the Elastic Common Schema, and back.

What the schema has no field for stands under `telemetry_mcp`. The line holds no line break, its keys are sorted,
and its numbers are whole or as the caller wrote them: whoever reads and writes it again gets the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import orjson

from telemetry_mcp.audit import AuditRecord
from telemetry_mcp.text import plain

VERSION = "8.17.0"
"""Of the Elastic Common Schema."""

KINDS: Mapping[str, tuple[str, str]] = {
    "tools/call": ("api", "access"),
    "resources/read": ("api", "access"),
    "prompts/get": ("api", "access"),
    "resources/subscribe": ("api", "access"),
    "resources/unsubscribe": ("api", "access"),
    "subscriptions/listen": ("api", "access"),
    "authentication": ("authentication", "start"),
    "config.load": ("configuration", "info"),
    "server.start": ("process", "start"),
    "server.stop": ("process", "end"),
    "key.create": ("iam", "creation"),
    "key.rotate": ("iam", "change"),
    "key.revoke": ("iam", "deletion"),
}
"""Action -> event.category and event.type."""
OTHER = ("process", "info")
TURNED_AWAY = frozenset(("denied", "limited"))


def document(record: AuditRecord) -> dict[str, Any]:
    """The fields of a record, apart from those that the chain adds. Arguments must be masked already."""
    category, kind = KINDS.get(record.action, OTHER)
    made: dict[str, Any] = {
        "@timestamp": timestamp(record.at_ms),
        "ecs": {"version": VERSION},
        "event": {
            "kind": "event",
            "category": [category],
            "type": [kind, "denied"] if record.outcome in TURNED_AWAY else [kind],
            "action": record.action,
            "outcome": "success" if record.outcome == "answered" else "failure",
            "duration": round(record.duration_ms * 1e6),
        },
        "user": {"id": plain(record.subject), "roles": [plain(role) for role in record.roles]},
        "telemetry_mcp": {
            "name": plain(record.name),
            "outcome": record.outcome,
            "arguments": dict(record.arguments),
            "sources": dict(record.sources),
            "items": record.items,
            "caller": {"kind": record.kind},
        },
    }
    ours = made["telemetry_mcp"]
    if record.action == "tools/call":
        ours["tool"] = ours["name"]
    if record.client:
        ours["client"] = plain(record.client)
    if record.reason:
        made["event"]["reason"] = plain(record.reason)
    if record.address:
        made |= whence(plain(record.address))
    if record.user_agent:
        made["user_agent"] = {"original": plain(record.user_agent)}
    if record.trace_id:
        made["trace"] = {"id": record.trace_id}
    return made


def whence(address: str) -> dict[str, Any]:
    """`source.ip` takes addresses only; whatever else it is stands in `client.address`."""
    try:
        return {"client": {"address": address}, "source": {"ip": str(ip_address(address))}}
    except ValueError:
        return {"client": {"address": address}}


def written(fields: Mapping[str, Any]) -> bytes:
    """One line, without its end. The same fields are always the same bytes."""
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def read(line: bytes) -> AuditRecord:
    """The record that a line tells of. ValueError for a line that is none."""
    fields = orjson.loads(line)
    try:
        event, ours, user = fields["event"], fields["telemetry_mcp"], fields["user"]
        return AuditRecord(
            at_ms=epoch_ms(fields["@timestamp"]),
            action=event["action"],
            name=ours["name"],
            outcome=ours["outcome"],
            duration_ms=event["duration"] / 1e6,
            arguments=ours["arguments"],
            sources=ours["sources"],
            subject=user["id"],
            kind=ours["caller"]["kind"],
            roles=tuple(user["roles"]),
            client=ours.get("client"),
            address=fields.get("client", {}).get("address"),
            reason=event.get("reason"),
            items=ours["items"],
            trace_id=fields.get("trace", {}).get("id"),
            id=event.get("id", ""),
            line=line,
            user_agent=fields.get("user_agent", {}).get("original"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no audit record: {error!r}") from error


def timestamp(at_ms: int) -> str:
    """RFC 3339 in UTC, always with milliseconds."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
