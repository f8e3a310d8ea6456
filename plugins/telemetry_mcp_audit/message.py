"""RFC 5424: one record as one syslog message, framed for TCP by octet counting (RFC 6587, RFC 5425)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from telemetry_mcp import AuditRecord, clean

# fmt: off
Facility = Literal[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]
Severity = Literal["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]
# fmt: on
FACILITIES: tuple[str, ...] = get_args(Facility)
SEVERITIES: tuple[str, ...] = get_args(Severity)
"""Both in the order of their numbers."""

BY_OUTCOME: Mapping[str, Severity] = {
    "answered": "info",
    "refused": "notice",
    "denied": "warning",
    "limited": "warning",
}
OTHERWISE: Severity = "notice"

LAST_SEQUENCE = 2**31 - 1
ABSENT = "-"


@dataclass(frozen=True, slots=True)
class Header:
    """What is the same in every message of one sink."""

    facility: Facility
    severity: Mapping[str, Severity]
    hostname: str
    app_name: str
    process: str
    enterprise_id: int

    def framed(self, record: AuditRecord, sequence: int) -> bytes:
        """The message behind its length. Without a BOM: before the JSON it would spoil it for parsers."""
        priority = FACILITIES.index(self.facility) * 8 + SEVERITIES.index(self.level(record.outcome))
        at = datetime.fromtimestamp(record.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        head = " ".join(
            (
                f"<{priority}>1",
                at.replace("+00:00", "Z"),
                named(self.hostname, 255),
                named(self.app_name, 48),
                named(self.process, 128),
                named(record.action, 32),
                f'[meta sequenceId="{sequence}"]' + self.own_data(record),
            )
        )
        message = head.encode() + b" " + record.line
        return b"%d %b" % (len(message), message)

    def own_data(self, record: AuditRecord) -> str:
        fields = {"id": record.id, "outcome": record.outcome, "subject": record.subject, "name": record.name}
        told = " ".join(f'{key}="{escaped(value)}"' for key, value in fields.items())
        return f"[audit@{self.enterprise_id} {told}]"

    def level(self, outcome: str) -> Severity:
        return self.severity.get(outcome) or BY_OUTCOME.get(outcome, OTHERWISE)


def named(text: str, most: int) -> str:
    """A field of the header: printable ASCII without spaces; "-" where there is nothing."""
    return re.sub(r"[^!-~]", "_", text)[:most] or ABSENT


def escaped(value: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", clean(value))


def following(sequence: int) -> int:
    """Sequence numbers begin again at 1 after the largest, as the RFC has it."""
    return sequence % LAST_SEQUENCE + 1
