"""Incidents like this one: past ones that were similar, and those of the same time. Both are plan features."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import Any, Literal, TypeVar

from anyio import create_task_group

from telemetry_mcp import (
    ForbiddenError,
    Incident,
    NotFoundError,
    PlanError,
    RelatedQuery,
    Reply,
    SourceError,
    gather,
)
from telemetry_mcp_pagerduty import wire
from telemetry_mcp_pagerduty.incident import incident, path_of
from telemetry_mcp_pagerduty.page import Api, Listing

T = TypeVar("T")
Relation = Literal["past", "related"]

FEWEST, MOST = 5, 999
"""The limits between which PagerDuty takes the number of past incidents."""
LOOKED_UP = 10


async def find(api: Api, query: RelatedQuery) -> Reply[Incident]:
    """Related incidents, then past ones by likeness. The answer names little more than id, title and time of
    opening, so the first ten are looked up; the status of the others is "unknown".

    PlanError when neither kind is in the plan, NotFoundError when there is no such incident.
    """
    path = path_of(query.incident_id)
    many = {"limit": max(FEWEST, min(query.limit, MOST))}
    past = Listing(f"{path}/past_incidents", "past_incidents", partial(relative, "past"))
    related = Listing(f"{path}/related_incidents", "related_incidents", partial(relative, "related"))
    try:
        found = await gather(
            {
                "related incidents": partial(if_in_plan, partial(api.whole, related)),
                "past incidents": partial(if_in_plan, partial(api.whole, past, many)),
            }
        )
    except PlanError:
        # A plan that lacks both and an incident that does not exist are answered alike.
        await api.ask(path)
        raise
    items = found.items[: query.limit]
    whole, missed = await looked_up(api, items[:LOOKED_UP])
    warnings = [f"{missed} of them could not be looked up"] if missed else []
    reasons = [found.partial, f"only {query.limit} are given" if len(found.items) > query.limit else None]
    return Reply(
        [*whole, *items[LOOKED_UP:]],
        found.queries,
        [*found.warnings, *warnings],
        "; ".join(filter(None, reasons)) or None,
    )


async def if_in_plan(call: Callable[[], Awaitable[Reply[T]]]) -> Reply[T]:
    """What the call replies; PlanError where PagerDuty refuses it in one of the ways that a small plan gets."""
    try:
        return await call()
    except (PlanError, ForbiddenError, NotFoundError) as error:
        raise PlanError(f"not in plan, or not for this key ({error})") from None


async def looked_up(api: Api, items: Sequence[Incident]) -> tuple[list[Incident], int]:
    """The incidents with status, service and times, and how many could not be had so: those stay as they are."""
    whole: dict[int, Incident] = {}

    async def one(number: int, item: Incident) -> None:
        try:
            found = incident(wire.mapping((await api.ask(path_of(item.id))).get("incident")))
        except SourceError:
            return
        if found is not None:
            whole[number] = replace(found, relation=item.relation, score=item.score)

    async with create_task_group() as tasks:
        for number, item in enumerate(items):
            tasks.start_soon(one, number, item)
    return [whole.get(number, item) for number, item in enumerate(items)], len(items) - len(whole)


def relative(relation: Relation, entry: Mapping[str, Any]) -> Incident | None:
    """An incident wrapped with its score or its relationships."""
    inner = wire.mapping(entry.get("incident"))
    found = incident(inner)
    if found is None:
        return None
    status = found.status if inner.get("status") else "unknown"
    return replace(found, status=status, relation=relation, score=score(entry.get("score")))


def score(value: Any) -> float | None:
    try:
        given = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None
    return given if given is not None and isfinite(given) else None
