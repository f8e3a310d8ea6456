"""Queries for what Telegraf's default inputs write (cpu, mem, disk, net). Their tag is `host`: set service_tag
to it, or to a global tag that says which service runs there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PER_TAG = "$service_tag = $service AND $timeFilter"
EVERY = "GROUP BY time($__interval), $service_tag fill(none)"


def gauge(value: str, measurement: str, only: str = "") -> str:
    return f'SELECT {value} FROM "{measurement}" WHERE {only}{PER_TAG} {EVERY}'


def rate(counter: str) -> str:
    """The rate of every interface by itself, since each is a counter of its own; then their sum."""
    each = f'SELECT non_negative_derivative(last("{counter}"), 1s) AS "rate" FROM "net"'
    where = f'WHERE "interface" !~ /^(all|lo)$/ AND {PER_TAG}'
    by_interface = f"{each} {where} GROUP BY time($__interval), * fill(none)"
    return f'SELECT sum("rate") FROM ({by_interface}) WHERE $timeFilter {EVERY}'


def pipe(measurement: str, fields: str, aggregate: str, only: str = "", then: str = "") -> str:
    """Flux that begins as all of them do and ends in one table a service."""
    return (
        "from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop)"
        f' |> filter(fn: (r) => r._measurement == "{measurement}" and r._field == "{fields}"{only}'
        f" and r[$service_tag] == $service)"
        f" {aggregate}{then}"
    )


def window(function: str) -> str:
    return f'|> aggregateWindow(every: v.windowPeriod, fn: {function}, createEmpty: false, timeSrc: "_start")'


def flux_gauge(measurement: str, field: str, function: str, only: str = "", then: str = "") -> str:
    return pipe(measurement, field, f"|> group(columns: [$service_tag]) {window(function)}", only, then)


def flux_rate(counter: str) -> str:
    each = f"|> derivative(unit: 1s, nonNegative: true) {window('mean')}"
    total = ' |> group(columns: ["_time", $service_tag]) |> sum() |> group(columns: [$service_tag])'
    return pipe("net", counter, each, ' and r.interface != "all" and r.interface != "lo"', total)


def metrics(cpu: str, memory: str, disk: str, receive: str, transmit: str) -> Mapping[str, Mapping[str, str]]:
    return {
        "cpu": {"query": cpu, "unit": "percent"},
        "memory": {"query": memory, "unit": "percent"},
        "disk": {"query": disk, "unit": "percent"},
        "network_receive": {"query": receive, "unit": "bytes_per_s"},
        "network_transmit": {"query": transmit, "unit": "bytes_per_s"},
    }


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "telegraf": metrics(
        cpu=gauge('100 - mean("usage_idle")', "cpu", "\"cpu\" = 'cpu-total' AND "),
        memory=gauge('mean("used_percent")', "mem"),
        disk=gauge('max("used_percent")', "disk"),
        receive=rate("bytes_recv"),
        transmit=rate("bytes_sent"),
    ),
    "telegraf-flux": metrics(
        cpu=flux_gauge(
            "cpu",
            "usage_idle",
            "mean",
            ' and r.cpu == "cpu-total"',
            " |> map(fn: (r) => ({r with _value: 100.0 - r._value}))",
        ),
        memory=flux_gauge("mem", "used_percent", "mean"),
        disk=flux_gauge("disk", "used_percent", "max"),
        receive=flux_rate("bytes_recv"),
        transmit=flux_rate("bytes_sent"),
    ),
}
"""`telegraf` is for version 1, `telegraf-flux` for version 2."""
