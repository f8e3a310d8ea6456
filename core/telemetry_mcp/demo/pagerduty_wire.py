"""The shapes that all of the PagerDuty emulator's documents are made of: pages, references, ids, times, errors."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from telemetry_mcp.demo import noise
from telemetry_mcp.demo.estate import Incident
from telemetry_mcp.demo.fault_plan import DAY_MS
from telemetry_mcp.demo.topology import PEOPLE, Member

_SITE = "https://demo.pagerduty.com"
_API = "https://api.pagerduty.com"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LONGEST_MS = 6 * 31 * DAY_MS

Document = dict[str, Any]
Handler = Callable[[Request], Document]


class Refused(Exception):
    """A status with PagerDuty's own code, message and details."""

    def __init__(self, status: int, code: int, message: str, *details: str) -> None:
        super().__init__(message)
        self.status = status
        self.document = {"error": {"code": code, "message": message, "errors": list(details)}}


def page(request: Request, name: str, entries: Sequence[Document]) -> Document:
    """The part of `entries` that limit and offset ask for, in the classic envelope."""
    limit = min(_count(request, "limit", 25), 100)
    offset = _count(request, "offset", 0)
    if offset + limit > 10_000:
        raise Refused(400, 2001, "Invalid Input Provided", "Offset plus limit is more than 10000")
    total = len(entries) if request.query_params.get("total") == "true" else None
    return {
        name: list(entries[offset : offset + limit]),
        "limit": limit,
        "offset": offset,
        "total": total,
        "more": offset + limit < len(entries),
    }


def _count(request: Request, name: str, usual: int) -> int:
    given = request.query_params.get(name, str(usual))
    if not given.isdecimal():
        raise Refused(400, 2001, "Invalid Input Provided", f"{name} is not a number")
    return int(given)


def window(request: Request, now_ms: int) -> tuple[int, int]:
    """The time that since and until ask for, by default the last month; nothing later than now is known."""
    since, until = (request.query_params.get(name) for name in ("since", "until"))
    end_ms = epoch_ms(until) if until else now_ms
    start_ms = epoch_ms(since) if since else end_ms - 30 * DAY_MS
    if request.query_params.get("date_range") == "all":
        start_ms, end_ms = 0, now_ms
    elif start_ms > end_ms or end_ms - start_ms > _LONGEST_MS:
        raise Refused(400, 2001, "Invalid Input Provided", "Since must be before Until, at most 6 months")
    return start_ms, min(end_ms, now_ms + 1)


def reference(kind: str, key: str, summary: str) -> Document:
    number = incident_id(key) if kind == "incident" else identity("P", f"{kind}-{key}", 7)
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    folder = "service-directory" if kind == "service" else plural
    return {
        "id": number,
        "type": f"{kind}_reference",
        "summary": summary,
        "self": f"{_API}/{plural}/{number}",
        "html_url": f"{_SITE}/{folder}/{number}",
    }


def service_reference(member: Member) -> Document:
    return reference("service", member.name, member.name)


def incident_reference(incident: Incident) -> Document:
    return reference("incident", incident.id, f"[#{incident.number}] {incident.title}")


def user_reference(team: str) -> Document:
    return reference("user", PEOPLE[team].email, PEOPLE[team].name)


def policy_reference(team: str) -> Document:
    return reference("escalation_policy", team, f"{team} on call")


def incident_id(key: str) -> str:
    return identity("Q", key, 14)


def identity(prefix: str, key: str, length: int) -> str:
    """An id in the manner of the vendor, the same for the same key."""
    number = noise.salt("pagerduty", key) * noise.salt("pagerduty more", key)
    digits = ""
    while len(digits) < length - len(prefix):
        number, digit = divmod(number, len(_DIGITS))
        digits += _DIGITS[digit]
    return prefix + digits


def routing_key(service: str) -> str:
    """The key of a service's integration: whoever has it can send events in its name."""
    return identity("R", f"routing-{service}", 32)


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch_ms(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, 2004, "Invalid Input Provided", f"Date is not readable: {text}") from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
