"""New Relic's emulator: its wire format as a plain HTTP client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp.demo import newrelic

if TYPE_CHECKING:
    from tests.core.conftest import Vendor

NOW_S = 20_500 * 86_400 + 15 * 3600
NOW_MS = NOW_S * 1000


def select(columns: str, rest: str = "FACET appName", hours: int = 1) -> str:
    return f"SELECT {columns} FROM Transaction {rest} SINCE {NOW_MS - hours * 3_600_000} UNTIL {NOW_MS} LIMIT MAX"


def asking(relic: Vendor, query: str, **variables: Any) -> Any:
    body = {"query": query, "variables": variables}
    return relic.client.post(f"{relic.url}/graphql", json=body, headers=relic.keys)


def test_newrelic_gives_facets_over_time_as_flat_rows_in_seconds(relic: Vendor) -> None:
    where = "WHERE appName IN ('payment-processor', 'user-service') FACET appName TIMESERIES 5 minutes"
    text = select("percentage(count(*), WHERE error IS true)", where)
    wanted = "results otherResult metadata { facets timeWindow { begin end } }"
    query = f"query($id: Int!, $q: Nrql!) {{ actor {{ account(id: $id) {{ nrql(query: $q) {{ {wanted} }} }} }} }}"
    found = asking(relic, query, id=newrelic.ACCOUNT_ID, q=text).json()["data"]["actor"]["account"]["nrql"]
    rows = found["results"]
    assert len(rows) == 24
    assert rows[0].keys() == {"facet", "appName", "beginTimeSeconds", "endTimeSeconds", "percentage"}
    assert rows[0]["facet"] == rows[0]["appName"] == "user-service"
    assert rows[0]["beginTimeSeconds"] == NOW_S - 3600
    assert rows[1]["beginTimeSeconds"] == rows[0]["endTimeSeconds"] == NOW_S - 3300
    assert found["otherResult"] == []
    times = {"begin": NOW_MS - 3_600_000, "end": NOW_MS}
    assert found["metadata"] == {"facets": ["appName"], "timeWindow": times}


@pytest.mark.parametrize(
    ("columns", "key", "low", "high"),
    [
        ("count(*)", "count", 1e5, 4e5),
        ("rate(count(*), 1 minute)", "rate.count", 2000, 6000),
        ("rate(count(apm.service.transaction.duration), 1 minute)", "rate.count", 2000, 6000),
        ("percentage(count(*), WHERE error IS false)", "percentage", 99.9, 100),
        ("average(duration)", "average.duration", 0.05, 0.2),
        ("filter(count(*), WHERE error IS false) / count(*) * 100 AS 'Good part'", "Good part", 99.9, 100),
    ],
)
def test_newrelic_computes_the_columns_of_the_golden_signals(
    relic: Vendor, columns: str, key: str, low: float, high: float
) -> None:
    (row,) = relic.rows(select(columns, "WHERE appName = 'payment-processor'"))
    assert row.keys() == {key}
    assert low < row[key] < high


def test_newrelic_gives_percentiles_as_an_object_in_seconds(relic: Vendor) -> None:
    (row,) = relic.rows(select("percentile(duration, 50, 95)", "WHERE appName = 'api-gateway'"))
    assert 0.03 < row["percentile.duration"]["50"] < row["percentile.duration"]["95"] < 0.3


def test_newrelic_knows_every_app_and_nothing_that_keeps_state(relic: Vendor, apps: set[str]) -> None:
    rows = relic.rows(select("count(*)", "WHERE appName IS NOT NULL FACET appName"))
    assert {row["facet"] for row in rows} == apps
    assert relic.rows(select("count(*)", "WHERE appName IN ('cache-redis') FACET appName")) == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT count(*) FRM Transaction", "NRDB:1101002"),
        (select("count(* FROM"), "NRDB:1101002"),
        (select("count(*)", "WHERE host = 'x'"), "NRDB:1101002"),
        (select("count(*)", "TIMESERIES 1 second"), "NRDB:1103019"),
    ],
)
def test_newrelic_answers_200_with_an_nrdb_error(relic: Vendor, query: str, code: str) -> None:
    document = relic.nrql(query)
    assert document["data"]["actor"]["account"]["nrql"] is None
    assert document["errors"][0]["extensions"]["errorCode"] == code


def test_newrelic_allows_366_buckets(relic: Vendor) -> None:
    query = select("count(*)", "WHERE appName = 'api-gateway' TIMESERIES 1 hour", hours=366)
    assert len(relic.rows(query)) == 366


def test_newrelic_hides_accounts_of_others(relic: Vendor) -> None:
    document = relic.nrql(select("count(*)"), account=1)
    assert document["data"]["actor"]["account"] is None
    assert document["errors"][0]["extensions"]["errorClass"] == "ACCESS_DENIED"


def test_newrelic_lists_entities_issues_and_the_user(relic: Vendor, apps: set[str]) -> None:
    entities = "{ count results { nextCursor entities { name alertSeverity tags { key values } } } }"
    issues = "{ issues { issueId state entityNames } nextCursor }"
    query = (
        "query($id: Int!) { actor { user { name email } "
        f"entitySearch(query: \"domain = 'APM'\") {entities} "
        f"account(id: $id) {{ aiIssues {{ issues {issues} }} }} }} }}"
    )
    actor = asking(relic, query, id=newrelic.ACCOUNT_ID).json()["data"]["actor"]
    assert "@" in actor["user"]["email"]
    entities_found = {entity["name"]: entity for entity in actor["entitySearch"]["results"]["entities"]}
    assert entities_found.keys() == apps
    assert actor["entitySearch"]["count"] == len(apps)
    assert entities_found["notification-service"]["alertSeverity"] == "WARNING"
    assert {"key": "team", "values": ["edge"]} in entities_found["api-gateway"]["tags"]
    found = actor["account"]["aiIssues"]["issues"]["issues"]
    assert found[0].keys() == {"issueId", "state", "entityNames"}
    assert (found[0]["state"], found[0]["entityNames"]) == ("ACTIVATED", ["notification-service"])
    assert {issue["state"] for issue in found[1:]} == {"CLOSED"}


def test_newrelic_lists_issues_by_state_and_time(relic: Vendor) -> None:
    query = (
        "query($id: Int!, $filter: AiIssuesFilterIssues, $time: TimeWindowInput) { actor { account(id: $id) "
        "{ aiIssues { issues(filter: $filter, timeWindow: $time) { issues { state createdAt } } } } } }"
    )
    time = {"startTime": NOW_MS - 30 * 86_400_000, "endTime": NOW_MS}
    body = asking(relic, query, id=newrelic.ACCOUNT_ID, filter={"states": ["CLOSED"]}, time=time).json()
    issues = body["data"]["actor"]["account"]["aiIssues"]["issues"]["issues"]
    assert len(issues) > 4
    assert {issue["state"] for issue in issues} == {"CLOSED"}
    assert min(issue["createdAt"] for issue in issues) < NOW_MS - 7 * 86_400_000


def test_newrelic_names_aliases_and_fields_that_do_not_exist_as_graphql_does(relic: Vendor) -> None:
    one = asking(relic, "{ actor { me: user { called: name ... on User { email } } } }").json()
    assert one["data"]["actor"]["me"].keys() == {"called", "email"}
    for query, words in (
        ("{ actor { nonsense } }", 'Cannot query field "nonsense"'),
        ("{ actor { user { name } }", "syntax error"),
        ("{ actor { entitySearch(query: $q) { count } } }", 'Variable "$q" is not defined'),
    ):
        answer = asking(relic, query)
        assert answer.status_code == 200
        assert words in answer.json()["errors"][0]["message"]
        assert "data" not in answer.json()


def test_newrelic_knows_whom_a_service_calls_and_its_service_level(relic: Vendor) -> None:
    search = "query($q: String!) { actor { entitySearch(query: $q) { results { entities { guid name %s } } } } }"
    entities = "data", "actor", "entitySearch", "results", "entities"
    levels: Any = asking(
        relic,
        search % "serviceLevel { indicators { objectives { target } resultQueries { indicator { nrql } } } }",
        q="type = 'SERVICE_LEVEL' AND accountId IN (1234567)",
    ).json()
    apps: Any = asking(relic, search % "domain", q="domain IN ('APM') AND reporting = 'true'").json()
    for key in entities:
        levels, apps = levels[key], apps[key]
    assert len(levels) == len(apps) == 5
    indicator = levels[0]["serviceLevel"]["indicators"][0]
    (row,) = relic.rows(indicator["resultQueries"]["indicator"]["nrql"])
    assert 90 < row["SLI"] <= 100
    assert indicator["objectives"] == [{"target": 99.5}]
    calls = (
        "query($guids: [EntityGuid]!) { actor { entities(guids: $guids) { relatedEntities("
        "filter: {direction: OUTBOUND, relationshipTypes: {include: [CALLS]}}) { results { target "
        "{ entity { name } } } } } } }"
    )
    (gateway,) = (app["guid"] for app in apps if app["name"] == "api-gateway")
    (found,) = asking(relic, calls, guids=[gateway]).json()["data"]["actor"]["entities"]
    called = {edge["target"]["entity"]["name"] for edge in found["relatedEntities"]["results"]}
    assert called == {"auth-service", "user-service", "payment-processor"}


def test_newrelic_keeps_changes_as_two_types_of_events(relic: Vendor) -> None:
    query = (
        "SELECT timestamp, eventType() AS 'eventType', deploymentId, changeTrackingId, entity.name, version "
        f"FROM ChangeTrackingEvent, Deployment SINCE 30 days ago UNTIL {NOW_MS} LIMIT MAX"
    )
    rows = relic.rows(query)
    assert [row["timestamp"] for row in rows] == sorted((row["timestamp"] for row in rows), reverse=True)
    assert {row["eventType"] for row in rows} == {"Deployment", "ChangeTrackingEvent"}
    assert all((row["deploymentId"] is None) != (row["changeTrackingId"] is None) for row in rows)
    assert len(relic.rows(f"{query[:-3]}3")) == 3
    counted = f"SELECT count(*) FROM ChangeTrackingEvent, Deployment SINCE 30 days ago UNTIL {NOW_MS} LIMIT 1"
    assert relic.rows(counted) == [{"count": len(rows)}]


def test_newrelic_says_when_it_answered_and_no_more_about_its_limits(relic: Vendor) -> None:
    answer = asking(relic, "{ actor { user { name } } }")
    assert answer.headers["date"] == "Mon, 16 Feb 2026 15:00:00 GMT"
    assert not [name for name in answer.headers if "ratelimit" in name]


def test_newrelic_refuses_a_wrong_key(relic: Vendor) -> None:
    answer = relic.client.post(f"{relic.url}/graphql", json={"query": "{ actor { user { name } } }"})
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["extensions"]["error_code"] == "BAD_API_KEY"
