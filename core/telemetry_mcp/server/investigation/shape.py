"""An investigation as it travels in an answer. Every claim names its evidence by an id that is in the answer."""

from __future__ import annotations

from typing import Literal

from telemetry_mcp.server.envelope import Answer, ExternalText, Lean, Number, Shape

Conclusion = Literal["suspects", "no_deviation", "uncertain", "unknown"]


class Page(Lean):
    """`also` are other systems' ids of the same incident."""

    evidence: str
    id: str | None
    service: ExternalText
    at: str
    title: ExternalText | None = None
    status: str | None = None
    urgency: str | None = None
    severity: ExternalText | None = None
    acknowledged: str | None = None
    resolved: str | None = None
    url: ExternalText | None = None
    source: str | None = None
    also: list[str] | None = None


class Moment(Lean):
    """One line of the timeline: `text` is a source's own, or none where the evidence says it all."""

    at: str
    kind: Literal["page", "alert", "log_entry", "note", "change", "onset"]
    evidence: str
    service: ExternalText | None = None
    text: ExternalText | None = None
    source: str | None = None


class Measure(Lean):
    """`before` and `after` are medians in `unit`; `deviation` in robust sigmas, 99 at most."""

    evidence: str
    metric: str
    unit: str
    before: Number | None
    after: Number | None
    deviation: Number | None
    direction: Literal["up", "down", "none"]
    onset: str | None
    lead_min: Number | None
    sources: list[str]
    harmless: bool | None = None


class Suspect(Shape):
    """`share` is of the weight of all that stand out, no probability; `lead_min` the minutes before the page."""

    service: ExternalText
    share: Number | None
    onset: str | None
    lead_min: Number | None
    metrics: list[Measure]
    changes: list[str]


class Candidate(Lean):
    """A change before or during the incident: a candidate by its time, never a verdict. `before_onset_min` is how
    long before its service began to deviate (negative: after), where it did."""

    evidence: str
    at: str
    kind: str
    service: ExternalText | None
    title: ExternalText
    sources: list[str]
    before_page_min: Number | None
    before_onset_min: Number | None = None
    version: ExternalText | None = None
    author: ExternalText | None = None
    url: ExternalText | None = None


class Similar(Lean):
    evidence: str
    id: str
    title: ExternalText
    opened: str
    relation: str
    source: str
    service: ExternalText | None = None
    resolved: str | None = None
    score: Number | None = None
    url: ExternalText | None = None


class Duty(Lean):
    person: ExternalText
    level: int
    source: str
    policy: ExternalText | None = None
    until: str | None = None


class Edge(Shape):
    evidence: str
    caller: str
    callee: str
    sources: list[str]


class Investigation(Answer):
    incident: Page
    conclusion: Conclusion
    summary: str
    suspects: list[Suspect]
    timeline: list[Moment]
    changes: list[Candidate]
    similar: list[Similar]
    on_call: list[Duty]
    blast_radius: list[str]
    dependencies: list[Edge]
    not_examined: list[ExternalText]
    baseline: dict[str, str]
