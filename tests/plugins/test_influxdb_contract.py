"""The InfluxDB plugin passes the contract in each of its three languages; the first against a real InfluxDB."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

import pytest

from telemetry_mcp.testing import Request, Response, SourceContract, relay

if TYPE_CHECKING:
    from tests.real.influx import InfluxServer

INSTANT = re.compile(r"20\d\d-[\dT:.-]+Z")


def minutes(query: str) -> list[str]:
    """The first twenty minutes after the first time that a query names."""
    found = INSTANT.search(query)
    start_s = datetime.fromisoformat(found[0]).timestamp() if found else 0.0
    return [datetime.fromtimestamp(start_s + 60 * nth, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for nth in range(20)]


@pytest.mark.real
class TestInfluxQL(SourceContract):
    plugin = "influxdb"
    settings: ClassVar = {
        "version": 1,
        "database": "telemetry",
        "username": "reader",
        "password": "planted-in-the-test",
    }
    metrics: ClassVar = {
        "cpu": {
            "query": 'SELECT mean("usage") FROM "cpu" WHERE "service" = $service AND $timeFilter '
            'GROUP BY time($__interval), "service"',
            "unit": "percent",
        }
    }
    services = ("api-gateway", "auth-service")

    @pytest.fixture(autouse=True)
    def place(self, influx: InfluxServer) -> None:
        self.url = influx.url

    def respond(self, request: Request) -> Response:
        return relay(request, self.url)

    def nothing(self, request: Request) -> object:
        return {"results": [{"statement_id": 0}]}


class TestFlux(SourceContract):
    plugin = "influxdb"
    settings: ClassVar = {"version": 2, "bucket": "telegraf", "org": "acme", "token": "planted-in-the-test"}
    metrics: ClassVar = {
        "cpu": "from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop)"
        " |> filter(fn: (r) => r.service == $service)"
        ' |> aggregateWindow(every: v.windowPeriod, fn: mean, timeSrc: "_start")'
    }

    def respond(self, request: Request) -> str:
        if request.path != "/api/v2/query":
            return ""
        if "schema.tagValues" in request.json["query"]:
            head = "#datatype,string,long,string\r\n#group,false,false,false\r\n#default,_result,,\r\n"
            return f"{head},result,table,_value\r\n,,0,checkout\r\n\r\n"
        head = (
            "#datatype,string,long,dateTime:RFC3339,double,string\r\n"
            "#group,false,false,false,false,true\r\n#default,_result,,,,\r\n,result,table,_time,_value,service\r\n"
        )
        times = minutes(request.json["query"])
        return head + "".join(f",,0,{at},{nth},checkout\r\n" for nth, at in enumerate(times)) + "\r\n"

    def nothing(self, request: Request) -> str:
        return "\r\n"


class TestSQL(SourceContract):
    plugin = "influxdb"
    settings: ClassVar = {"version": 3, "database": "telegraf", "token": "planted-in-the-test"}
    metrics: ClassVar = {
        "cpu": "SELECT $__dateBin(time) AS time, service, avg(u) AS u FROM cpu"
        " WHERE service IN ($service) AND $__timeFilter GROUP BY 1, 2"
    }

    def respond(self, request: Request) -> str:
        query = request.json["q"] if request.json else ""
        if "information_schema" in query:
            return '{"value":"cpu"}\n'
        if " AS value " in query:
            return '{"value":"checkout"}\n'
        times = minutes(query)
        return "".join(f'{{"time":"{at}","service":"checkout","u":{nth}.5}}\n' for nth, at in enumerate(times))

    def nothing(self, request: Request) -> str:
        return ""
