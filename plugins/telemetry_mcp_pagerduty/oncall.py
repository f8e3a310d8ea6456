"""Who is on call, and for which services: PagerDuty pages by escalation policy, and a policy serves services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from telemetry_mcp import ForbiddenError, NotFoundError, OnCall, OnCallQuery, PlanError, ProtocolError, Reply
from telemetry_mcp_pagerduty import wire
from telemetry_mcp_pagerduty.page import Api, Listing
from telemetry_mcp_pagerduty.service import Directory, Known

INCLUDED = ["users", "schedules", "escalation_policies"]
MANY = 10
"""A policy of more services is given once and not for each of them, unless a service was asked for."""

Serving = Mapping[str, Sequence[str]]
"""Id of an escalation policy -> the names of the services that it pages for."""


@dataclass(frozen=True, slots=True)
class Duty:
    """A person's turn; `services` are those that the policy itself names, None where it names none."""

    turn: OnCall
    policy: str
    services: tuple[str, ...] | None


async def find(api: Api, directory: Directory, query: OnCallQuery) -> Reply[OnCall]:
    """Who is on call at some time in the window, those who are paged first in front."""
    known = await directory.named(query.services)
    if query.services and not known.items:
        return Reply([], known.queries, known.warnings, known.partial)
    serving = by_policy(known.items)
    params = {
        **wire.between(query.window.start_ms, query.window.end_ms),
        "time_zone": "UTC",
        "include[]": INCLUDED,
    }
    if serving:
        params["escalation_policy_ids[]"] = sorted(serving)
    found = await api.listed(Listing("/oncalls", "oncalls", duty), params, enough=query.limit)
    if not query.services and any(item.services is None for item in found.items):
        known = await all_services(directory)
        serving = by_policy(known.items)
    rows = [row for item in found.items for row in each_service(item, serving, asked=bool(query.services))]
    rows = sorted(dict.fromkeys(rows), key=order)
    cut = f"only the first {query.limit} are given" if len(rows) > query.limit else None
    return Reply(
        rows[: query.limit],
        list(dict.fromkeys([*known.queries, *found.queries])),
        [*known.warnings, *found.warnings],
        "; ".join(filter(None, [known.partial, found.partial, cut])) or None,
    )


async def all_services(directory: Directory) -> Reply[Known]:
    """Every service; partial where they may not be read, for who is on call is known without them."""
    try:
        return await directory.all()
    except (ForbiddenError, NotFoundError, PlanError, ProtocolError) as error:
        return Reply(partial=f"which services a policy pages for is not known: {error}")


def by_policy(services: Sequence[Known]) -> dict[str, list[str]]:
    serving: dict[str, list[str]] = {}
    for item in services:
        if item.policy:
            serving.setdefault(item.policy, []).append(item.name)
    return serving


def each_service(item: Duty, serving: Serving, *, asked: bool) -> list[OnCall]:
    """The turn for each service of its policy, as far as they are known."""
    if asked:
        return [replace(item.turn, service=name) for name in serving.get(item.policy, ())]
    names = serving.get(item.policy, ()) if item.services is None else item.services
    if not 0 < len(names) <= MANY:
        return [item.turn]
    return [replace(item.turn, service=name) for name in names]


def order(row: OnCall) -> tuple[int, str, str, int]:
    return row.level, row.service or "", row.policy or "", row.start_ms or 0


def duty(entry: Mapping[str, Any]) -> Duty | None:
    """One on-call; None where nothing says at which level. Without start and end it is a permanent one."""
    level = wire.number(entry.get("escalation_level"))
    if level is None:
        return None
    policy, user = wire.mapping(entry.get("escalation_policy")), entry.get("user")
    served = policy.get("services")
    turn = OnCall(
        person=wire.summary(user) or "(a deleted user)",
        level=level,
        policy=wire.summary(policy),
        schedule=wire.summary(entry.get("schedule")),
        start_ms=wire.epoch_ms(entry.get("start")),
        end_ms=wire.epoch_ms(entry.get("end")),
        url=wire.link(wire.mapping(entry.get("schedule"))) or wire.link(policy),
    )
    names = (wire.summary(item) for item in wire.mappings(served))
    services = tuple(name for name in names if name) if isinstance(served, list) else None
    return Duty(turn, wire.identity(policy), services)
