"""Every answer that was kept of New Relic, through the plugin: items, a typed error, or why it is not for us."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from telemetry_mcp import (
    ChangeQuery,
    DependencyQuery,
    IncidentQuery,
    NativeQuery,
    Reply,
    ServiceQuery,
    SourceError,
    Window,
)
from telemetry_mcp_newrelic import NewRelic
from telemetry_mcp_newrelic.graph import PATH
from telemetry_mcp_newrelic.preset import PRESETS

if TYPE_CHECKING:
    from tests.plugins.conftest import NerdGraph, Replayed, WireCase

WINDOW = Window(1_700_000_040_000, 1_700_000_640_000)
WHENEVER = Window(1, 2**42)
NATIVE = NativeQuery("SELECT count(*) FROM Transaction FACET appName", WHENEVER, 60_000, limit=10_000)
STRUCTURE = {"facet", "beginTimeSeconds", "endTimeSeconds", "timestamp", "inspectedCount", "comparison"}

Ask = Callable[[NewRelic], Awaitable[Reply[Any]]]
ASKS: tuple[tuple[tuple[str, ...], Ask], ...] = (
    (("actor", "account", "nrql"), lambda source: source.run_native(NATIVE)),
    (("actor", "account", "aiIssues"), lambda source: source.list_incidents(IncidentQuery(Window(1, 2**45)))),
    (("actor", "account", "changeTracking"), lambda source: source.list_changes(ChangeQuery(WINDOW))),
    (("actor", "entitySearch", "results"), lambda source: source.list_services(ServiceQuery(WINDOW))),
    (("actor", "entities"), lambda source: source.list_dependencies(DependencyQuery(WINDOW))),
)
"""Where an answer has its data -> the question that asks for it."""
LEFT_OUT = (
    (re.compile(r"\bmutation\b"), "it writes"),
    (re.compile(r"queryHistory"), "the history of queries is not asked for"),
)


def at(node: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        node = node.get(step) if isinstance(node, dict) else None
    return node


def response_of(interaction: Mapping[str, Any]) -> httpx.Response:
    kept = interaction["response"]
    raw = kept.get("body") or ""
    body = base64.b64decode(raw) if kept.get("body_kind") == "base64" else raw.encode()
    headers = {name: value for name, value in (kept.get("headers") or {}).items() if name.lower() == "retry-after"}
    return httpx.Response(kept.get("status", 200), stream=httpx.ByteStream(body), headers=headers)


def document_of(interaction: Mapping[str, Any]) -> Any:
    try:
        return json.loads(interaction["response"].get("body") or "")
    except ValueError:
        return None


def enveloped(document: Any) -> Any:
    """A single entity as a page of a search, in which the plugin reads entities."""
    entity = at(document, ("data", "actor", "entity"))
    if not isinstance(entity, dict):
        return document
    page = {"nextCursor": None, "entities": [entity]}
    return {**document, "data": {"actor": {"entitySearch": {"results": page}}}}


def leaves(node: Any) -> int:
    """How many values a NRQL answer without times has: each column of each facet once."""
    rows = at(node, ("data", "actor", "account", "nrql")) or {}
    facets = set((rows.get("metadata") or {}).get("facets") or [])
    found = set()
    for row in rows.get("results") or []:
        name = str([row.get(facet) for facet in sorted(facets)])
        for key, value in row.items():
            parts = value if isinstance(value, dict) else {"": value}
            numeric = not isinstance(value, str | list | bool)
            found |= {(name, key, part) for part in parts if numeric and key not in STRUCTURE | facets}
    return len(found)


def why_not(case: WireCase) -> str:
    """Why a case is not an answer that the plugin reads; empty where it is one."""
    if not case.interactions:
        return "a definition, not an answer" if "select:" in case.text else "not an answer of NerdGraph"
    first = case.interactions[0]
    request = first.get("request") or {}
    if PATH not in str(request.get("url") or PATH):
        return "NerdGraph is all that is asked, not REST"
    asked = f"{request.get('body')} {list(at(document_of(first), ('data', 'actor')) or [])}"
    told = next((reason for pattern, reason in LEFT_OUT if pattern.search(asked)), "")
    return told or unasked(enveloped(document_of(first)))


def unasked(document: Any) -> str:
    """Why data without an error is none that the plugin asks for; empty where it is, or has an error."""
    data = at(document, ("data",))
    if not isinstance(data, dict) or at(document, ("errors",)):
        return ""
    if "actor" not in data:
        return "it writes"
    known = any(at(data, path) is not None for path, _ in ASKS)
    return "" if known else "data that the plugin does not ask for"


def golden(text: str) -> list[str]:
    """The queries of a definition of golden metrics, without their names for what they give."""
    found = re.findall(r"^\s*select:\s*(.+?)\s*$", text, re.MULTILINE)
    return [re.sub(r"\s+AS\s+'.*$", "", one, flags=re.IGNORECASE) for one in found]


def in_presets(query: str) -> bool:
    return any(f"SELECT {query} " in metric["query"] for preset in PRESETS.values() for metric in preset.values())


@pytest.mark.wire("newrelic")
async def test_every_recorded_payload_ends_as_items_a_typed_error_or_not_for_us(
    wire_case: WireCase, replayed: Replayed, nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    if reason := why_not(wire_case):
        queries = golden(wire_case.text)
        known = [query for query in queries if in_presets(query)]
        if known:
            return replayed(
                wire_case, "items", f"{len(known)} of {len(queries)} golden metrics are in the presets"
            )
        return replayed(wire_case, "not for us", reason)
    documents = [enveloped(document_of(interaction)) for interaction in wire_case.interactions]
    answers = list(zip(wire_case.interactions, documents, strict=True))

    def answer(asked: Any) -> httpx.Response:
        kept, document = answers.pop(0) if len(answers) > 1 else answers[0]
        return response_of(kept) if document == document_of(kept) else nerdgraph.response(document)

    nerdgraph.answer = answer
    path, ask = next(
        ((path, ask) for path, ask in ASKS if at(documents[0], ("data", *path)) is not None),
        (("none",), ASKS[0][1]),
    )
    ended = await outcome(ask(newrelic))
    assert "NRAK" not in repr(ended)
    if isinstance(ended, SourceError):
        status = wire_case.interactions[0]["response"].get("status", 200)
        held = at(documents[0], ("data", *path))
        whole = isinstance(held, dict) and any(isinstance(each, list) for each in held.values())
        assert status >= 300 or not whole or documents[0].get("errors")
        return replayed(wire_case, "error", f"{type(ended).__name__}: {str(ended)[:60]}")
    if path[-1] == "nrql":
        assert sum(len(series) for series in ended.items) == leaves(documents[0])
    beside = f", {len(ended.warnings)} warnings" if ended.warnings else ""
    rest = f", partial: {ended.partial[:40]}" if ended.partial else ""
    replayed(wire_case, "items", f"{len(ended.items)} of {path[-1]}{beside}{rest}")


async def outcome(asking: Awaitable[Reply[Any]]) -> Reply[Any] | SourceError:
    """What a question ends in: nothing but these two leaves a plugin."""
    try:
        return await asking
    except SourceError as error:
        return error


@pytest.mark.wire("newrelic")
async def test_a_deprecation_in_a_recorded_answer_is_a_warning_and_not_an_error(
    wire_case: WireCase, nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    for interaction in wire_case.interactions:
        document = enveloped(document_of(interaction))
        if at(document, ("data", "actor", "entitySearch")) is None or "deprecated" not in json.dumps(document):
            continue
        nerdgraph.says(document)
        reply = await newrelic.list_services(ServiceQuery(WINDOW))
        assert (len(reply.items), reply.partial) == (1, None)
        assert "deprecated" in reply.warnings[0]
