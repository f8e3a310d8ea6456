"""The service level objectives of Datadog's emulator; one has no traffic, so that nobody knows its state."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5

import numpy as np
from starlette.requests import Request

from telemetry_mcp.demo.datadog_metric import tag_list
from telemetry_mcp.demo.datadog_wire import Clock, Document, Refused, whole
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.topology import Member

_FRAME = "30d"
_IDLE = "cache-redis"


@dataclass(frozen=True, slots=True)
class _Objective:
    member: Member
    target: float
    warning: float

    @property
    def id(self) -> str:
        return md5(f"slo:{self.member.name}".encode(), usedforsecurity=False).hexdigest()

    @property
    def threshold(self) -> Document:
        return {
            "timeframe": _FRAME,
            "target": self.target,
            "target_display": f"{self.target:g}.",
            "warning": self.warning,
            "warning_display": f"{self.warning:g}",
        }


class Objectives:
    def __init__(self, estate: Estate, clock: Clock) -> None:
        self._estate = estate
        self._clock = clock
        self._all = {one.id: one for one in _objectives(estate)}

    def listed(self, request: Request) -> Document:
        offset, limit = whole(request, "offset", 0), whole(request, "limit", 1000)
        shown = list(self._all.values())[offset : offset + limit]
        page = {"total_count": len(self._all), "total_filtered_count": len(shown)}
        return {"data": [self._definition(one) for one in shown], "error": None, "metadata": {"page": page}}

    def history(self, request: Request) -> Document:
        one = self._all.get(request.path_params["id"])
        if one is None:
            raise Refused(404, "SLO not found")
        start, end = whole(request, "from_ts", 0), whole(request, "to_ts", 0)
        if start >= end:
            raise Refused(400, "Invalid time range: from_ts must be before to_ts")
        data = {
            "thresholds": {_FRAME: one.threshold},
            "from_ts": start,
            "to_ts": end,
            "type": "metric",
            "type_id": 1,
            "slo": self._definition(one),
            "group_by": [],
            "overall": self._overall(one, start, end),
        }
        return {"data": data, "errors": None}

    def _overall(self, one: _Objective, start: int, end: int) -> Document:
        known = {"span_precision": 2, "precision": {_FRAME: 2}, "corrections": []}
        if one.member.name == _IDLE:
            error = {"error_message": "The denominator is zero valued", "error_type": "ZERO_VALUED_DENOMINATOR"}
            return {**known, "errors": [error], "sli_value": None, "uptime": None, "state": "no_data"}
        end_ms = min(end * 1000, self._clock())
        starts, width_ms = np.array([start * 1000], dtype=np.int64), max(end_ms - start * 1000, 1)
        good = float(self._estate.average(one.member.name, "availability", starts, width_ms)[0])
        state = "breached" if good < one.target else "warning" if good < one.warning else "ok"
        return {**known, "errors": [], "sli_value": round(good, 4), "uptime": round(good, 4), "state": state}

    def _definition(self, one: _Objective) -> Document:
        born, name = self._estate.start_ms // 1000, one.member.name
        hits = f"sum:trace.http.request.hits{{service:{name}}}.as_count()"
        return {
            "id": one.id,
            "name": f"{name}: requests without error",
            "description": "",
            "tags": tag_list(one.member),
            "monitor_tags": [],
            "thresholds": [one.threshold],
            "timeframe": _FRAME,
            "target_threshold": one.target,
            "warning_threshold": one.warning,
            "type": "metric",
            "type_id": 1,
            "query": {
                "numerator": f"{hits} - sum:trace.http.request.errors{{service:{name}}}.as_count()",
                "denominator": hits,
            },
            "creator": {"name": None, "handle": "sre@example.com", "email": "sre@example.com"},
            "created_at": born,
            "modified_at": born,
        }


def _objectives(estate: Estate) -> Iterator[_Objective]:
    for member in estate.members.values():
        if member.kind == "app" or member.name == _IDLE:
            yield _Objective(member, 99.9, 99.93)
