"""Service levels: New Relic's SLIs with their objectives, each asked how it stands now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import Any

from telemetry_mcp import BadQueryError, Reply, Slo, SloQuery, Window, gather
from telemetry_mcp_newrelic.account import across, within
from telemetry_mcp_newrelic.entity import entities_of, searched, summed
from telemetry_mcp_newrelic.field import link, number, record, records, tag_pairs, text, texts
from telemetry_mcp_newrelic.graph import Found, Graph, words_of
from telemetry_mcp_newrelic.query import boxed

SEARCH = """query($q: String!, $cursor: String) { actor { entitySearch(query: $q) { results(cursor: $cursor) {
nextCursor entities { guid name accountId permalink tags { key values } serviceLevel { indicators { guid name
objectives { target timeWindow { rolling { count unit } } }
resultQueries { indicator { nrql } } } } } } } } }"""
BATCH = 10
"""Queries of one request; each is a query of its own for New Relic."""
UNIT_MS = {"HOUR": 3_600_000, "DAY": 86_400_000, "WEEK": 604_800_000, "MONTH": 30 * 86_400_000}
LONGEST_MS = 400 * 86_400_000
WARNING_LEFT = 25.0
"""Percent of the error budget from which on an objective is in danger."""
PREFERRED = ("sli", "result")


@dataclass(frozen=True, slots=True)
class Level:
    """One objective of one indicator, and the query that says how it stands."""

    slo: Slo
    account: int
    nrql: str


async def list_slos(graph: Graph, accounts: Sequence[int], query: SloQuery) -> Reply[Slo]:
    """The objectives over their own rolling windows, ended where the asked window ends.

    Without a value, an objective is unknown and says why: never 0 and never 100 %.
    """
    search = f"type = 'SERVICE_LEVEL' AND {within(accounts)}"
    pages, reasons = await searched(graph, SEARCH, search, "service levels")
    entities, unread = entities_of(pages)
    read = [level for entity in entities for level in levels(entity, accounts, query.window)]
    unread += read.count(None)
    wanted = [each for each in read if each and (not query.services or each.slo.service in query.services)]
    if len(wanted) > query.limit:
        reasons = [*reasons, f"{len(wanted) - query.limit} service levels were left out"]
    homes: dict[int, list[Level]] = {}
    for level in wanted[: query.limit]:
        homes.setdefault(level.account, []).append(level)
    values = await across([*homes], lambda account: of_account(graph, account, homes[account], query))
    found = summed(values.items, pages, search, [*reasons, *filter(None, [values.partial])], unread)
    return Reply(found.items, [search, *values.queries], [*found.warnings, *values.warnings], found.partial)


def levels(entity: Mapping[str, Any], accounts: Sequence[int], window: Window) -> Iterable[Level | None]:
    """Every objective of an entity; None for one that cannot be read."""
    tags = dict(tag_pairs(entity.get("tags")))
    home = number(entity.get("accountId"))
    for indicator in records(record(entity.get("serviceLevel")).get("indicators"))[0]:
        objectives = records(indicator.get("objectives"))[0]
        guid = text(indicator.get("guid")) or text(entity.get("guid"))
        for place, objective in enumerate(objectives):
            target = number(objective.get("target"))
            if not guid or not 0 < target <= 100:
                yield None
                continue
            slo = Slo(
                guid if len(objectives) == 1 else f"{guid}:{place}",
                text(indicator.get("name")) or text(entity.get("name")) or guid,
                target,
                span_ms(objective) or window.duration_ms,
                service=tags.get("nr.associatedEntityName"),
                url=link(entity.get("permalink")),
            )
            yield Level(slo, int(home) if home in accounts else accounts[0], text_of_query(indicator))


async def of_account(graph: Graph, account: int, asked: Sequence[Level], query: SloQuery) -> Reply[Slo]:
    starts = range(0, len(asked), BATCH)
    return await gather(
        {str(at): partial(measured, graph, account, asked[at : at + BATCH], query) for at in starts}
    )


def text_of_query(indicator: Mapping[str, Any]) -> str:
    found = record(record(indicator.get("resultQueries")).get("indicator")).get("nrql")
    return found if isinstance(found, str) else ""


def span_ms(objective: Mapping[str, Any]) -> int | None:
    rolling = record(record(objective.get("timeWindow")).get("rolling"))
    span = number(rolling.get("count")) * UNIT_MS.get(text(rolling.get("unit")), nan)
    return int(span) if 0 < span <= LONGEST_MS else None


async def measured(graph: Graph, account: int, asked: Sequence[Level], query: SloQuery) -> Reply[Slo]:
    """The levels with their values: one request, a NRQL query each under a name of its own."""
    sent: dict[int, str] = {}
    refused: dict[int, str] = {}
    for place, level in enumerate(asked):
        end_ms = query.window.end_ms
        try:
            sent[place] = boxed(level.nrql, Window(max(0, end_ms - level.slo.window_ms), end_ms))
        except BadQueryError as error:
            refused[place] = f"its query is not one that reads: {error}"
    found = await batch(graph, account, sent) if sent else Found({})
    items = [
        standing(level.slo, *value_of(found, place) if place in sent else (nan, refused[place]))
        for place, level in enumerate(asked)
    ]
    return Reply(items, list(sent.values()), found.warnings)


async def batch(graph: Graph, account: int, sent: Mapping[int, str]) -> Found:
    declared = ", ".join(f"$q{place}: Nrql!" for place in sent)
    asked = " ".join(
        f"n{place}: nrql(query: $q{place}, timeout: {graph.timeout_s}) {{ results }}" for place in sent
    )
    document = f"query($id: Int!, {declared}) {{ actor {{ account(id: $id) {{ {asked} }} }} }}"
    variables = {"id": account, **{f"q{place}": text for place, text in sent.items()}}
    needs = f"the right to query data of account {account}"
    return await graph.ask(document, variables, "actor", "account", needs=needs)


def value_of(found: Found, place: int) -> tuple[float, str]:
    """The percentage that one query gave; NaN and the reason where there is none."""
    name = f"n{place}"
    told = [words_of(error) for error in found.errors if name in texts(error.get("path"))]
    rows = records(record(found.node.get(name)).get("results"))[0]
    row = {key.lower(): number(value) for key, value in (rows[0] if rows else {}).items()}
    named = [row[key] for key in PREFERRED if key in row] or list(row.values())
    value = next((each for each in named if each == each), nan)
    if told or value != value:
        return nan, "; ".join(told) or "no valid events in its window"
    return (value, "") if 0 <= value <= 100 else (nan, f"{value:g} is no percentage")


def standing(slo: Slo, value: float, reason: str) -> Slo:
    if value != value:
        return changed(slo, None, "unknown", None, reason)
    allowed = 100 - slo.objective
    left = (value - slo.objective) / allowed * 100 if allowed else None
    if value < slo.objective:
        return changed(slo, value, "breached", left, None)
    near = left is not None and left <= WARNING_LEFT
    return changed(slo, value, "warning" if near else "ok", left, None)


def changed(slo: Slo, sli: float | None, state: str, left: float | None, reason: str | None) -> Slo:
    return Slo(slo.id, slo.title, slo.objective, slo.window_ms, slo.service, sli, state, left, reason, url=slo.url)
