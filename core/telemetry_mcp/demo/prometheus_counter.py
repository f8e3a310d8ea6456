"""The emulated Prometheus' counters of requests, by status code: what the rates of the estate add up to."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.topology import ENVIRONMENT, Member

REQUESTS = "service_requests_total"
HELP = "Requests answered, by status code."
_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000

Counter = tuple[dict[str, str], Callable[[NDArray[np.int64]], NDArray[np.float64]]]


def counters(estate: Estate) -> Iterator[Counter]:
    for member in estate.members.values():
        for code in ("200", "500"):
            labels = {
                "__name__": REQUESTS,
                "code": code,
                "environment": ENVIRONMENT,
                "job": "estate",
                "service": member.name,
                "team": member.team,
            }
            yield labels, partial(_counted, estate, member, code)


def _counted(estate: Estate, member: Member, code: str, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """Whole requests since the estate began; nothing before that."""
    if not len(times):
        return np.empty(0)
    until_ms = (int(times.max()) // _HOUR_MS + 1) * _HOUR_MS
    grid, answered, failed = _running(estate, member.name, max(until_ms, estate.start_ms + _HOUR_MS))
    count = failed if code == "500" else answered - failed
    return np.where(times < estate.start_ms, np.nan, np.floor(np.interp(times, grid, count)))


@lru_cache(maxsize=64)
def _running(
    estate: Estate, service: str, until_ms: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Each minute since the estate began: how many requests were answered so far, and how many of them failed."""
    grid = np.arange(estate.start_ms, until_ms + 1, _MINUTE_MS, dtype=np.int64)
    answered = estate.values(service, "request_rate", grid) * (_MINUTE_MS / 1000)
    failed = answered * estate.values(service, "error_rate", grid) / 100
    return grid, np.cumsum(answered) - answered, np.cumsum(failed) - failed
