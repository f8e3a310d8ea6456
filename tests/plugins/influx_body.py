"""What becomes of an InfluxDB's answer, for the tests that read bodies."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from telemetry_mcp import Reply, Series, Window
from telemetry_mcp_influxdb import InfluxDB
from telemetry_mcp_influxdb.series import Ask, reply_of
from telemetry_mcp_influxdb.setting import LANGUAGES
from telemetry_mcp_influxdb.statement import Statement

T0 = 1_700_000_000_000
WINDOW = Window(T0, T0 + 600_000)
MINUTE = 60_000
TABLES: dict[int, dict[str, Any]] = {
    1: {"database": "d"},
    2: {"bucket": "b", "org": "o", "token": "t0ken"},
    3: {"database": "d"},
}


def read(
    version: int,
    body: Any,
    *services: str,
    metric: str = "cpu",
    width_ms: int = 0,
    latest: bool = False,
    limit: int = 100,
) -> Reply[Series]:
    """What becomes of a body: text and bytes as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else orjson.dumps(body)
    table = {"plugin": "influxdb", "url": "http://influx.test", "version": version, **TABLES[version]}
    language = LANGUAGES[version](InfluxDB.Settings.model_validate(table))
    statement = Statement("the query", width_ms=width_ms)
    ask = Ask(statement, WINDOW, MINUTE, MINUTE, "service", limit, services, metric, "percent", latest)
    return reply_of(language.decode(raw), ask)


def told(reply: Reply[Series]) -> list[tuple[str, str, list[int], list[float]]]:
    """Service, metric, seconds after T0, values; a gap is -1."""
    return [
        (s.service, s.metric, ((s.timestamps_ms - T0) // 1000).tolist(), np.nan_to_num(s.values, nan=-1).tolist())
        for s in reply.items
    ]
