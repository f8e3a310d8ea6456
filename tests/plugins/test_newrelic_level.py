"""New Relic's service levels as SLOs: each over its own window, and unknown where nobody can know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import ProtocolError, SloQuery, Window
from telemetry_mcp_newrelic import NewRelic

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectNewRelic, Failure, NerdGraph

END = 1_700_000_640_000
DAY = 86_400_000
WINDOW = Window(END - DAY, END)
SLI = (
    "SELECT clamp_max(sum(newrelic.sli.good) / sum(newrelic.sli.valid) * 100, 100) AS 'SLI' "
    "FROM Metric WHERE entity.guid = 'UNTIL x' UNTIL 2 minutes AGO"
)


def objective(target: Any = 99.0, count: Any = 7, unit: Any = "DAY") -> dict[str, Any]:
    return {"target": target, "timeWindow": {"rolling": {"count": count, "unit": unit}}}


def level(name: str = "api - Success", service: str = "api", nrql: Any = SLI, **more: Any) -> dict[str, Any]:
    indicator = {
        "guid": f"guid of {name}",
        "name": name,
        "objectives": [objective()],
        "resultQueries": {"indicator": {"nrql": nrql}},
        **more,
    }
    return {
        "guid": f"entity of {name}",
        "name": name,
        "accountId": 7,
        "permalink": "https://one.newrelic.com/x",
        "tags": [{"key": "nr.associatedEntityName", "values": [service]}],
        "serviceLevel": {"indicators": [indicator]},
    }


def having(nerdgraph: NerdGraph, *levels: Any, values: Any = None, errors: Any = None) -> None:
    """Answer the search with these levels, and every query of theirs with these values by its place."""
    page = {"actor": {"entitySearch": {"results": {"nextCursor": None, "entities": list(levels)}}}}

    def answer(asked: dict[str, Any]) -> Any:
        if "entitySearch" in asked["query"]:
            return nerdgraph.response({"data": page})
        names = [key.replace("q", "n") for key in asked["variables"] if key.startswith("q")]
        told = {name: {"results": [{"SLI": 99.9}]} for name in names} if values is None else values
        return nerdgraph.response({"data": {"actor": {"account": told}}, "errors": errors or []})

    nerdgraph.answer = answer


async def test_a_service_level_stands_as_its_own_query_says_over_its_own_window(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    having(nerdgraph, level())
    reply = await newrelic.list_slos(SloQuery(WINDOW))
    (item,) = reply.items
    assert (item.id, item.title, item.service) == ("guid of api - Success", "api - Success", "api")
    assert (item.objective, item.window_ms, item.url) == (99.0, 7 * DAY, "https://one.newrelic.com/x")
    assert (item.sli, item.state) == (99.9, "ok")
    assert item.budget_left == pytest.approx(90)
    assert nerdgraph.sent(1)["variables"]["q0"] == (
        SLI.removesuffix(" UNTIL 2 minutes AGO") + f" SINCE {END - 7 * DAY} UNTIL {END} LIMIT MAX"
    )
    assert "timeout: 8" in nerdgraph.sent(1)["query"]


@pytest.mark.parametrize(
    ("sli", "state", "left"),
    [(100.0, "ok", 100), (99.3, "ok", 30), (99.25, "warning", 25), (99.0, "warning", 0), (98.0, "breached", -100)],
)
async def test_the_state_follows_from_what_is_left_of_the_budget(
    nerdgraph: NerdGraph, newrelic: NewRelic, sli: float, state: str, left: float
) -> None:
    having(nerdgraph, level(), values={"n0": {"results": [{"SLI": sli}]}})
    (item,) = (await newrelic.list_slos(SloQuery(WINDOW))).items
    assert (item.sli, item.state) == (sli, state)
    assert item.budget_left == pytest.approx(left)


@pytest.mark.parametrize(
    ("results", "sli"),
    [([{"result": 95.5, "count": 1000, "total": 50}], 95.5), ([{"Good": "97"}], 97.0), ([{"SLI": 0}], 0.0)],
)
async def test_the_value_is_found_under_whatever_name_it_has(
    nerdgraph: NerdGraph, newrelic: NewRelic, results: Any, sli: float
) -> None:
    having(nerdgraph, level(), values={"n0": {"results": results}})
    assert (await newrelic.list_slos(SloQuery(WINDOW))).items[0].sli == sli


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"results": [{"SLI": None}]}, "no valid events in its window"),
        ({"results": []}, "no valid events in its window"),
        ({"results": None}, "no valid events in its window"),
        (None, "no valid events in its window"),
        ({"results": [{"SLI": 130}]}, "130 is no percentage"),
        ({"results": ["strange"]}, "no valid events in its window"),
    ],
)
async def test_without_a_value_it_is_unknown_and_says_why_never_zero_or_a_hundred(
    nerdgraph: NerdGraph, newrelic: NewRelic, value: Any, reason: str
) -> None:
    having(nerdgraph, level(), values={"n0": value})
    (item,) = (await newrelic.list_slos(SloQuery(WINDOW))).items
    assert (item.sli, item.state, item.budget_left, item.reason) == (None, "unknown", None, reason)


async def test_a_query_that_failed_costs_its_own_level_only(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    error = {"message": "query timed out", "path": ["actor", "account", "n0"]}
    values = {"n0": None, "n1": {"results": [{"SLI": 99.5}]}}
    having(nerdgraph, level("a"), level("b"), level("c", nrql="DELETE FROM x"), values=values, errors=[error])
    reply = await newrelic.list_slos(SloQuery(WINDOW))
    assert [(item.title, item.state, item.sli) for item in reply.items] == [
        ("a", "unknown", None),
        ("b", "ok", 99.5),
        ("c", "unknown", None),
    ]
    assert reply.items[0].reason == "query timed out"
    assert "not one that reads" in str(reply.items[2].reason)


async def test_several_objectives_of_one_indicator_are_several_slos(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    both = [objective(99, 7), objective(95, 4, "WEEK"), objective(None), objective(100, 1, "HOUR")]
    having(nerdgraph, level(objectives=both))
    reply = await newrelic.list_slos(SloQuery(WINDOW))
    assert [(item.objective, item.window_ms) for item in reply.items] == [
        (99, 7 * DAY),
        (95, 28 * DAY),
        (100, 3_600_000),
    ]
    assert len({item.id for item in reply.items}) == 3
    assert [item.state for item in reply.items] == ["ok", "ok", "breached"]
    assert reply.warnings == ["1 entities could not be read"]


async def test_ten_queries_travel_in_one_request_and_only_the_asked_services_are_asked(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    having(nerdgraph, *(level(f"{n}", service=f"s{n}") for n in range(12)))
    reply = await newrelic.list_slos(SloQuery(WINDOW))
    assert [item.title for item in reply.items] == [str(n) for n in range(12)]
    assert len(nerdgraph.requests) == 3
    nerdgraph.requests.clear()
    one = await newrelic.list_slos(SloQuery(WINDOW, services=("s3",)))
    assert [item.service for item in one.items] == ["s3"]
    assert len(nerdgraph.requests) == 2
    few = await newrelic.list_slos(SloQuery(WINDOW, limit=5))
    assert (len(few.items), few.partial) == (5, "7 service levels were left out")


async def test_without_service_levels_nothing_else_is_asked(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    having(nerdgraph)
    reply = await newrelic.list_slos(SloQuery(WINDOW))
    assert (list(reply.items), reply.partial, len(nerdgraph.requests)) == ([], None, 1)


async def test_each_level_is_asked_in_the_account_it_belongs_to(
    nerdgraph: NerdGraph, connect_newrelic: ConnectNewRelic
) -> None:
    having(nerdgraph, level("a"), {**level("b"), "accountId": "8"}, {**level("c"), "accountId": None})
    reply = await connect_newrelic(account_id=[7, 8]).list_slos(SloQuery(WINDOW))
    assert sorted(item.title for item in reply.items) == ["a", "b", "c"]
    asked = [nerdgraph.sent(n)["variables"] for n in range(len(nerdgraph.requests))]
    assert asked[0]["q"] == "type = 'SERVICE_LEVEL' AND accountId IN (7, 8)"
    assert sorted((one["id"], len(one) - 1) for one in asked[1:]) == [(7, 2), (8, 1)]


@pytest.mark.parametrize("entities", [None, {}, "strange"])
async def test_a_search_without_entities_is_no_empty_answer(
    nerdgraph: NerdGraph, newrelic: NewRelic, entities: Any, failure: Failure
) -> None:
    nerdgraph.says({"data": {"actor": {"entitySearch": {"results": {"entities": entities}}}}})
    assert isinstance(await failure(newrelic.list_slos(SloQuery(WINDOW))), ProtocolError)


@pytest.mark.parametrize("path", [7, 1.5, True, {}, "", None, [None, 7]])
async def test_an_error_whose_path_is_none_harms_no_service_level(
    nerdgraph: NerdGraph, newrelic: NewRelic, path: Any
) -> None:
    having(nerdgraph, level(), errors=[{"message": "odd", "path": path}])
    (item,) = (await newrelic.list_slos(SloQuery(WINDOW))).items
    assert (item.sli, item.state) == (99.9, "ok")
