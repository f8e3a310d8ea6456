"""What /api/v1/alerts and /api/v1/rules tell: alerts, and rules that cannot raise any. Nothing here does I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from telemetry_mcp import HttpReply, Incident, ProtocolError, Window, clean
from telemetry_mcp_prometheus.wire import MALFORMED, envelope_of, text_map

TITLES = ("summary", "title", "message", "description")
HIGH = frozenset(
    {"critical", "crit", "page", "emergency", "fatal", "error", "high", "major", "p1", "p2", "sev1", "sev2"}
)
LOW = frozenset(
    {"warning", "warn", "minor", "low", "info", "informational", "notice", "p3", "p4", "p5", "sev3", "sev4"}
)
SHOWN = 3
STATES = ("firing", "pending", "inactive")


@dataclass(frozen=True, slots=True)
class Alarm:
    """One firing of one alert. `last_ms` and `resolved_ms` are None where it fires still or nobody saw its end."""

    labels: Mapping[str, str]
    opened_ms: int
    last_ms: int | None = None
    resolved_ms: int | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None
    fires: bool = False

    @property
    def key(self) -> str:
        """The same for every answer that speaks of this firing: its labels, and the second it became active."""
        text = "\0".join(f"{name}\0{value}" for name, value in sorted(self.labels.items()))
        return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-{self.opened_ms // 1000}"

    @property
    def status(self) -> str:
        return "triggered" if self.fires else "resolved"

    @property
    def is_heartbeat(self) -> bool:
        """It fires always, to show that alerting works, or only to silence others."""
        return self.labels.get("severity") == "none"

    def continues(self, now: Alarm) -> bool:
        """Whether the alert that fires now is this one: it may lack the labels that a store adds to its series."""
        return (self.last_ms or 0) >= now.opened_ms and now.labels.items() <= self.labels.items()

    def overlaps(self, window: Window) -> bool:
        return self.opened_ms < window.end_ms and (self.resolved_ms or window.end_ms) >= window.start_ms

    def incident(self, service_label: str) -> Incident:
        name = self.labels.get("alertname") or "an alert without a name"
        severity = self.labels.get("severity")
        level = (severity or "").lower()
        return Incident(
            id=self.key,
            title=next((self.annotations[each] for each in TITLES if self.annotations.get(each)), name),
            status=self.status,
            opened_ms=self.opened_ms,
            service=self.labels.get(service_label) or None,
            urgency="high" if level in HIGH else "low" if level in LOW else None,
            severity=severity or None,
            resolved_ms=self.resolved_ms,
            url=self.url,
            kind="alert",
        )


@dataclass(slots=True)
class Alerts:
    alarms: list[Alarm] = field(default_factory=list)
    pending: int = 0
    unreadable: int = 0

    def take(self, entry: Any) -> None:
        try:
            state = str(entry["state"]).lower()
            self.pending += state == "pending"
            if state == "firing":
                self.alarms.append(alarm_of(entry))
            self.unreadable += state not in STATES
        except MALFORMED:
            self.unreadable += 1

    def remarks(self) -> Iterator[str]:
        if self.pending:
            yield f"{self.pending} pending alerts left out: they do not fire yet"
        if self.unreadable:
            yield f"{self.unreadable} alerts could not be read"


@dataclass(slots=True)
class Rules:
    """`annotations` are those of each alert's rule as far as they are no templates; `broken` are sick rules."""

    alarms: list[Alarm] = field(default_factory=list)
    annotations: dict[str, Mapping[str, str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    count: int = 0
    unreadable: int = 0
    lost: int = 0
    """Alerts of readable rules that cannot be read themselves."""

    def take(self, rule: Any) -> None:
        """One rule of a group; recording rules are passed over."""
        try:
            if rule["type"] != "alerting":
                return
            name, health = clean(str(rule["name"])), str(rule.get("health") or "ok")
            annotations, alerts = text_map(rule.get("annotations") or {}), Alerts()
            for entry in rule.get("alerts") or ():
                alerts.take(entry)
        except MALFORMED:
            self.unreadable += 1
            return
        self.count += 1
        self.alarms += alerts.alarms
        self.lost += alerts.unreadable
        self.annotations[name] = {key: text for key, text in annotations.items() if "{{" not in text}
        if health not in ("ok", "unknown"):
            self.broken.append(f"{name} ({clean(str(rule.get('lastError') or health), 120)})")

    def remarks(self) -> Iterator[str]:
        if self.broken:
            more = f" and {len(self.broken) - SHOWN} more" if len(self.broken) > SHOWN else ""
            named = ", ".join(self.broken[:SHOWN])
            yield f"alert rules that cannot be evaluated, and so cannot fire: {named}{more}"
        if self.unreadable:
            yield f"{self.unreadable} alert rules could not be read"
        if self.lost:
            yield f"{self.lost} alerts could not be read"


def alerts_of(reply: HttpReply) -> Alerts:
    found = Alerts()
    entries = listing(reply, "alerts")
    for entry in entries:
        found.take(entry)
    if entries and found.unreadable == len(entries):
        raise ProtocolError("no alert of the answer is as Prometheus documents it")
    return found


def rules_of(reply: HttpReply) -> Rules:
    found = Rules()
    for group in listing(reply, "groups"):
        rules = group.get("rules") if isinstance(group, dict) else None
        for rule in rules if isinstance(rules, list) else [None]:
            found.take(rule)
    return found


def listing(reply: HttpReply, name: str) -> list[Any]:
    """The list `name` of the answer's data, which VictoriaMetrics and Thanos may leave out or null when empty."""
    data = envelope_of(reply).get("data")
    entries = data.get(name) if isinstance(data, dict) else data
    if entries is None and isinstance(data, dict):
        return []
    if not isinstance(entries, list):
        raise ProtocolError(f"the answer holds no list of {name}")
    return entries


def alarm_of(entry: Mapping[str, Any]) -> Alarm:
    """Raises one of MALFORMED when it is none."""
    annotations = text_map(entry.get("annotations") or {})
    url = entry.get("source") or annotations.get("runbook_url")
    return Alarm(
        labels=text_map(entry["labels"]),
        opened_ms=instant_ms(entry["activeAt"]),
        annotations=annotations,
        url=url if isinstance(url, str) else None,
        fires=True,
    )


def instant_ms(text: Any) -> int:
    """RFC 3339 with any offset and any number of decimals. ValueError before 1970 and without an offset."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or (milliseconds := int(at.timestamp() * 1000)) < 0:
        raise ValueError("not an instant")
    return milliseconds
