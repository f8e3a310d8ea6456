"""New Relic's emulator: its wire format as a plain HTTP client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.demo import newrelic

if TYPE_CHECKING:
    from tests.core.conftest import Vendor

NOW_S = 20_500 * 86_400 + 15 * 3600
NOW_MS = NOW_S * 1000


def select(columns: str, rest: str = "FACET appName", hours: int = 1) -> str:
    return f"SELECT {columns} FROM Transaction {rest} SINCE {NOW_MS - hours * 3_600_000} UNTIL {NOW_MS} LIMIT MAX"


def test_newrelic_gives_facets_over_time_as_flat_rows_in_seconds(relic: Vendor) -> None:
    where = "WHERE appName IN ('payment-processor', 'user-service') FACET appName TIMESERIES 5 minutes"
    document = relic.nrql(select("percentage(count(*), WHERE error IS true)", where))
    rows = document["data"]["actor"]["account"]["nrql"]["results"]
    assert len(rows) == 24
    assert rows[0].keys() == {"facet", "appName", "beginTimeSeconds", "endTimeSeconds", "percentage"}
    assert rows[0]["facet"] == rows[0]["appName"] == "user-service"
    assert rows[0]["beginTimeSeconds"] == NOW_S - 3600
    assert rows[1]["beginTimeSeconds"] == rows[0]["endTimeSeconds"] == NOW_S - 3300
    assert document["data"]["actor"]["account"]["nrql"]["otherResult"] == []


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
    query = (
        "query($id: Int!) { actor { user { name email } entitySearch(query: \"domain = 'APM'\") { count } "
        "account(id: $id) { aiIssues { issues { issues { issueId } nextCursor } } } } }"
    )
    body = {"query": query, "variables": {"id": newrelic.ACCOUNT_ID}}
    actor = relic.client.post(f"{relic.url}/graphql", json=body, headers=relic.keys).json()["data"]["actor"]
    assert "@" in actor["user"]["email"]
    entities = {entity["name"]: entity for entity in actor["entitySearch"]["results"]["entities"]}
    assert entities.keys() == apps
    assert entities["notification-service"]["alertSeverity"] == "WARNING"
    assert {"key": "team", "values": ["edge"]} in entities["api-gateway"]["tags"]
    issues = actor["account"]["aiIssues"]["issues"]["issues"]
    assert issues[0]["state"] == "ACTIVATED"
    assert issues[0]["entityNames"] == ["notification-service"]
    assert {issue["state"] for issue in issues[1:]} == {"CLOSED"}


def test_newrelic_refuses_a_wrong_key(relic: Vendor) -> None:
    answer = relic.client.post(f"{relic.url}/graphql", json={"query": "{ actor { user { name } } }"})
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["extensions"]["error_code"] == "BAD_API_KEY"
