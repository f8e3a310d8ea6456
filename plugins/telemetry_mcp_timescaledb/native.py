"""What the columns of a SELECT of the user's own mean."""

from __future__ import annotations

from collections.abc import Sequence

from telemetry_mcp import BadQueryError
from telemetry_mcp_timescaledb.query import Shape, Value
from telemetry_mcp_timescaledb.session import Column

TIMES = frozenset({"timestamptz", "timestamp", "date"})
NUMBERS = frozenset({"int2", "int4", "int8", "float4", "float8", "numeric"})


def shape_of_metric(columns: Sequence[Column], metric: str, unit: str, service: str) -> Shape:
    """One number column, or the one called `value`; a service column; all but numbers and times are labels."""
    numbers = [column.name for column in columns if column.type in NUMBERS and column.name != service]
    if len(numbers) > 1 and "value" in numbers:
        numbers = ["value"]
    if len(numbers) != 1:
        raise BadQueryError(f"{listed(columns)}: one number column is needed, or one of them called value")
    if service not in [column.name for column in columns]:
        raise BadQueryError(f"{listed(columns)}: the service column {service} is not among them")
    return Shape(time_of(columns), (Value(numbers[0], metric, unit),), service, labels(columns, service))


def shape_of_native(columns: Sequence[Column], service: str) -> Shape:
    """Every number column is a metric of its name; a service column there may be."""
    numbers = [column.name for column in columns if column.type in NUMBERS and column.name != service]
    if not numbers:
        raise BadQueryError(f"{listed(columns)}: no number column among them")
    values = tuple(Value(name, name) for name in numbers)
    there = service if service in [column.name for column in columns] else None
    return Shape(time_of(columns), values, there, labels(columns, service))


def time_of(columns: Sequence[Column]) -> str:
    times = [column.name for column in columns if column.type in TIMES]
    if not times:
        hint = "select the time as timestamptz; of a number of seconds make one with to_timestamp(...)"
        raise BadQueryError(f"{listed(columns)}: no time column among them", hint=hint)
    return "time" if "time" in times else times[0]


def labels(columns: Sequence[Column], service: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (column.name, column.name)
        for column in columns
        if column.type not in TIMES | NUMBERS and column.name != service
    )


def listed(columns: Sequence[Column]) -> str:
    return "the query gives " + (", ".join(f"{column.name} ({column.type})" for column in columns) or "no columns")
