"""Datadog's units and ours: by the family and the scale factor that it sends, never by a metric's name."""

from __future__ import annotations

from typing import Any

from telemetry_mcp_datadog.wire import dig, listed, number, text

FAMILIES = {"time": "s", "percentage": "percent", "bytes": "bytes", "cpu": "cores"}
"""Unit families whose `scale_factor` leads to one unit of ours."""
PER_SECOND = {"bytes": "bytes_per_s", "s": "ratio", "": "per_s"}
"""What so much of a unit in a second is: seconds in a second are a share of it, and things are a rate."""
SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
"""For a `per` that came without its factor."""


def unit(given: Any) -> tuple[str, float]:
    """Our name of `[unit, per]` as a series has it, and the factor that leads to it; empty and 1 without one."""
    first, per = (*listed(given), None, None)[:2]
    if not isinstance(first, dict):
        return "", 1.0
    scale, ours = number(first.get("scale_factor")), FAMILIES.get(text(first.get("family")))
    name, factor = (ours, scale) if ours and scale else (text(first.get("name")), 1.0)
    if not isinstance(per, dict):
        return name, factor
    of = text(per.get("name"))
    duration_s = number(dig(per, "scale_factor")) if per.get("family") == "time" else SECONDS.get(of)
    if not duration_s:
        return f"{name} per {of}", factor
    counted = name if ours and scale else ""
    return PER_SECOND.get(counted, f"{name} per second"), factor / duration_s
