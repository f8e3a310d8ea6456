"""Units: which measure the same thing, and by how much they differ. The one table of them."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

UNITS: Mapping[str, tuple[str, Fraction]] = {
    "ratio": ("share", Fraction(1)),
    "percent": ("share", Fraction(1, 100)),
    "s": ("time", Fraction(1)),
    "ms": ("time", Fraction(1, 10**3)),
    "us": ("time", Fraction(1, 10**6)),
    "ns": ("time", Fraction(1, 10**9)),
    "min": ("time", Fraction(60)),
    "h": ("time", Fraction(3600)),
    "per_s": ("rate", Fraction(1)),
    "per_min": ("rate", Fraction(1, 60)),
    "per_h": ("rate", Fraction(1, 3600)),
    "bytes": ("size", Fraction(1)),
    "kB": ("size", Fraction(10**3)),
    "MB": ("size", Fraction(10**6)),
    "GB": ("size", Fraction(10**9)),
    "KiB": ("size", Fraction(2**10)),
    "MiB": ("size", Fraction(2**20)),
    "GiB": ("size", Fraction(2**30)),
    "bits": ("size", Fraction(1, 8)),
    "bytes_per_s": ("bandwidth", Fraction(1)),
    "bits_per_s": ("bandwidth", Fraction(1, 8)),
    "cores": ("cpu", Fraction(1)),
    "millicores": ("cpu", Fraction(1, 10**3)),
    "count": ("count", Fraction(1)),
}
"""Unit -> (what it measures, how many of the first unit of that kind it is)."""

SPELLINGS: Mapping[str, str] = {
    "%": "percent",
    "fraction": "ratio",
    "second": "s",
    "seconds": "s",
    "millisecond": "ms",
    "milliseconds": "ms",
    "microsecond": "us",
    "microseconds": "us",
    "\u00b5s": "us",
    "μs": "us",
    "nanosecond": "ns",
    "nanoseconds": "ns",
    "minute": "min",
    "minutes": "min",
    "hour": "h",
    "hours": "h",
    "rps": "per_s",
    "req/s": "per_s",
    "requests_per_second": "per_s",
    "rpm": "per_min",
    "req/min": "per_min",
    "requests_per_minute": "per_min",
    "byte": "bytes",
    "B": "bytes",
    "KB": "kB",
    "B/s": "bytes_per_s",
    "bps": "bits_per_s",
    "mcores": "millicores",
}


COUNTED: Mapping[str, str] = {"count": "per_s", "bytes": "bytes_per_s", "bits": "bits_per_s", "s": "cores"}
"""The unit of a counter -> that of what it rises by per second."""

PER_SECOND = ("rate", "bandwidth", "cpu")
"""What a counter may measure, once it is a rate."""

TOLERATED: Mapping[str, float] = {"percent": 1.0, "ratio": 0.01}
"""So much two sources may always differ by: of a share near 0, a share says nothing."""


def canonical(unit: str) -> str:
    return SPELLINGS.get(unit, unit)


def known(unit: str) -> bool:
    return canonical(unit) in UNITS


def per_second(unit: str) -> bool:
    """Whether this is a unit of something that happens by the second, as a counter's increase does."""
    return known(unit) and UNITS[canonical(unit)][0] in PER_SECOND


def factor(unit: str, wanted: str) -> float | None:
    """What a number in `unit` is multiplied by to be one in `wanted`; None where they cannot be converted."""
    unit, wanted = canonical(unit), canonical(wanted)
    if unit == wanted:
        return 1.0
    if unit not in UNITS or wanted not in UNITS or UNITS[unit][0] != UNITS[wanted][0]:
        return None
    return float(UNITS[unit][1] / UNITS[wanted][1])
