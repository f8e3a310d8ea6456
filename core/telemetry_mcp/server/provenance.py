"""Where an answer's numbers come from: each source's share in a series, and how it relates to what is shown."""

from __future__ import annotations

from typing import Literal

from telemetry_mcp.analysis.agreement import Difference, Verdict
from telemetry_mcp.merge import Merged
from telemetry_mcp.part import Part
from telemetry_mcp.server.envelope import ExternalText, Lean, Number, Shape, iso, rounded
from telemetry_mcp.server.points import Points

MOST_INTERVALS = 5


class Interval(Shape):
    start: str
    end: str


class Provenance(Lean):
    """One source's share, the shown one's first.

    Of the shown one, where there was a choice: by which rule it was `chosen`; and `estimate` "upper" where its
    values are the largest of several percentiles. Of another: `difference` is its values minus the shown one's,
    the median over the buckets that both have, after it was moved back by `lag_s`, for the comparison only.
    `intervals` are the latest of `intervals_total` stretches in which they part by more than that difference.

    What goes without saying is left out: the `factor` of a declared unit, correlation and concordance of a source
    that agrees, no lag, no interval. With the source's own points, all figures and the query come too.
    """

    source: str
    unit: str
    samples: int
    step_s: Number | None
    mean: Number | None
    chosen: Literal["owner", "first", "finest"] | None = None
    estimate: Literal["upper"] | None = None
    factor: Number | None = None
    inferred: bool | None = None
    difference: Number | None = None
    difference_relative: Number | None = None
    significant: bool | None = None
    lag_s: Number | None = None
    correlation: Number | None = None
    concordance: Number | None = None
    shared: int | None = None
    agreement: Verdict | None = None
    intervals: list[Interval] | None = None
    intervals_total: int | None = None
    filled: int | None = None
    query: ExternalText | None = None
    points: Points | None = None


def provenance(part: Part, merged: Merged, points: Points | None) -> Provenance:
    """`points` are the source's own, where they were asked for: then nothing is left out."""
    whole = points is not None
    shown = part is merged.parts[0]
    told = Provenance(
        source=part.source,
        unit=part.unit,
        samples=part.samples,
        step_s=rounded(part.step_ms / 1000) if part.step_ms else None,
        mean=rounded(float(part.values.mean())) if part.samples else None,
        chosen=merged.rule if shown and merged.rule != "only" else None,
        estimate="upper" if shown and merged.upper else None,
        factor=rounded(part.factor) if part.inferred or (whole and part.factor != 1) else None,
        inferred=part.inferred or None,
        filled=part.filled or None,
        query=(part.query or None) if whole else None,
        points=points,
    )
    return told.model_copy(update=relation(part.difference, whole)) if part.difference else told


def relation(found: Difference, whole: bool) -> dict[str, object]:
    """The fields that tell how a source differs from the shown one."""
    whole = whole or found.verdict in ("offset", "diverge")
    latest = found.intervals[-MOST_INTERVALS:]
    return {
        "difference": rounded(found.bias),
        "difference_relative": rounded(found.relative, 3) if whole else None,
        "significant": found.significant if whole else None,
        "lag_s": rounded(found.lag_ms / 1000) if found.lag_ms else None,
        "correlation": rounded(found.correlation, 3) if whole else None,
        "concordance": rounded(found.concordance, 3) if whole else None,
        "shared": found.shared if whole or found.verdict == "insufficient" else None,
        "agreement": found.verdict,
        "intervals": [Interval(start=iso(start) or "", end=iso(end) or "") for start, end in latest] or None,
        "intervals_total": len(found.intervals) or None,
    }
