"""Whether a backend's clock agrees with ours: where it does not, windows miss the newest samples in silence."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from telemetry_mcp.model import Check

MOST_SKEW_S = 30.0


def date_s(headers: Mapping[str, str]) -> float | None:
    """When an answer was made, in epoch seconds, by its Date header; None where it has none that can be read."""
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        return None


def clock_check(backend_s: float | None, now_s: float) -> Check:
    """For `check()`: the backend's time and ours, both in epoch seconds. A backend that tells no time passes."""
    if backend_s is None:
        return Check("clock", ok=True, detail="the answer carries no Date to compare with")
    ahead_s = backend_s - now_s
    detail = f"the backend's clock is {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    ok = abs(ahead_s) <= MOST_SKEW_S
    return Check("clock", ok=ok, detail=detail, fix="" if ok else "let both hosts keep time by NTP")
