"""Templates of the three languages: what fills them, what is refused, and that a name can never widen a query."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from telemetry_mcp import BadQueryError, Window
from telemetry_mcp_influxdb import InfluxDB
from telemetry_mcp_influxdb.preset import PRESETS
from telemetry_mcp_influxdb.setting import LANGUAGES
from telemetry_mcp_influxdb.statement import Scope, Statement, widened

WINDOW = Window(1_700_000_040_000, 1_700_003_640_500)
MINUTE = 60_000
NASTY = (
    *('we"ird\\svc{1}.x|y', "it's", "line\nbreak", "サービス", "a.b", "`tick`", "$1^(+*?)[a]", "trail\\"),
    *(
        '" or true //',
        "' OR 1=1 --",
        '") |> to(bucket: "x")',
        "${secrets}",
        "$service",
        "$s0",
        "v.timeRangeStart",
        "\x00",
    ),
)
TABLES: dict[int, dict[str, Any]] = {
    1: {"database": "telegraf"},
    2: {"bucket": 'b"1', "org": "acme", "token": "t0ken"},
    3: {"database": "telegraf"},
}
SOUND = {
    1: (
        'SELECT mean("u") FROM "cpu" WHERE "service" = $service AND $timeFilter'
        ' GROUP BY time($__interval), "service"'
    ),
    2: (
        "from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop)"
        " |> filter(fn: (r) => r.service == $service)"
    ),
    3: (
        "SELECT $__dateBin(time) AS time, service, avg(u) FROM cpu"
        " WHERE service IN ($service) AND $__timeFilter(time)"
    ),
}


def settings(version: int, **more: Any) -> Any:
    return InfluxDB.Settings.model_validate(
        {"plugin": "influxdb", "url": "http://influx.test", "version": version, **TABLES[version], **more}
    )


def render(version: int, text: str, *services: str, step_ms: int = MINUTE, **more: Any) -> Statement:
    scope = Scope(WINDOW, step_ms, services)
    return LANGUAGES[version](settings(version, **more)).statement(text, scope)


# What fills a template


@pytest.mark.parametrize(
    "compared",
    [
        *('"service" = $service', "\"service\" = '$service'", "service=${service}", "$service_tag = $service"),
        *('"service" =~ /^$service$/', '"service" =~ /^($service)$/', '"service"=~/${service:regex}/'),
        '"service"::tag = $service',
    ],
)
def test_influxql_compares_with_each_name_as_a_bound_value(compared: str) -> None:
    statement = render(1, f"SELECT mean(u) FROM cpu WHERE {compared} AND $timeFilter", "a", "b'c")
    operand = '"service"::tag' if "::tag" in compared else "service" if "${service}" in compared else '"service"'
    assert f"WHERE ({operand} = $s0 OR {operand} = $s1) AND time" in statement.text
    assert statement.binds == {"s0": "a", "s1": "b'c"}


def test_influxql_gets_its_times_in_milliseconds_and_steps_in_its_own_units() -> None:
    statement = render(1, f"{SOUND[1]} fill(none)", step_ms=1500)
    assert statement.text == (
        'SELECT mean("u") FROM "cpu" WHERE ("service" != \'\')'
        " AND time >= 1700000040000ms AND time < 1700003640500ms"
        ' GROUP BY time(1500ms), "service" fill(none)'
    )
    assert (statement.binds, statement.width_ms) == ({}, 1500)
    raw = render(1, "SELECT u FROM cpu WHERE ${__timeFilter} AND x < $__range")
    assert raw.text.endswith("x < 3600500ms")
    assert raw.width_ms == 0


def test_flux_gets_its_names_and_times_as_literals_and_one_that_is_given_starts() -> None:
    statement = render(2, SOUND[2], "a", "b")
    assert statement.text == (
        'from(bucket: "b\\"1")'
        " |> range(start: 2023-11-14T22:14:00.000Z, stop: 2023-11-14T23:14:00.500Z)"
        ' |> filter(fn: (r) => (r.service == "a" or r.service == "b"))'
    )
    assert "(exists r.service)" in render(2, SOUND[2]).text
    windows = '|> aggregateWindow(every: v.windowPeriod, fn: mean, timeSrc: "_start") |> limit(n: 1)'
    assert render(2, f"{SOUND[2]} {windows}").width_ms == MINUTE
    assert "every: 60s" in render(2, f"{SOUND[2]} {windows}").text
    assert render(2, SOUND[2]).width_ms == 0


@pytest.mark.parametrize(
    "compared", ['r["service"] == "$service"', "r[$service_tag] == ${service}", 'r["service"] =~ /^$service$/']
)
def test_flux_compares_as_it_is_used_to(compared: str) -> None:
    text = SOUND[2].replace("r.service == $service", compared)
    assert '(r["service"] == "a" or r["service"] == "b"))' in render(2, text, "a", "b").text


def test_sql_gets_its_names_as_parameters_and_its_window_as_times() -> None:
    statement = render(3, SOUND[3], "a", "b")
    assert statement.text == (
        "SELECT date_bin(INTERVAL '60000 milliseconds', time) AS time, service, avg(u) FROM cpu"
        " WHERE (service = $s0 OR service = $s1)"
        " AND time >= '2023-11-14T22:14:00.000Z' AND time < '2023-11-14T23:14:00.500Z'"
    )
    assert (statement.binds, statement.width_ms) == ({"s0": "a", "s1": "b"}, MINUTE)
    everyone = render(3, "SELECT * FROM t WHERE $__timeFilter AND $service_tag = '$service'", time_column="at")
    assert everyone.text.startswith('SELECT * FROM t WHERE "at" >= \'2023')
    assert everyone.text.endswith('("service" IS NOT NULL)')
    assert everyone.width_ms == 0


# Names


@pytest.mark.parametrize("version", [1, 3])
def test_a_name_never_becomes_part_of_a_query_that_takes_bound_values(version: int) -> None:
    plain = render(version, SOUND[version], *("x" for _ in NASTY))
    nasty = render(version, SOUND[version], *NASTY)
    assert nasty.text == plain.text
    assert tuple(nasty.binds.values()) == NASTY


@pytest.mark.parametrize("name", NASTY)
def test_a_name_stays_one_literal_of_flux_and_comes_back_as_it_was(name: str) -> None:
    before, after = render(2, SOUND[2], "MARK").text.split('"MARK"')
    text = render(2, SOUND[2], name).text
    assert text.startswith(before)
    assert text.endswith(after)
    literal = text[len(before) : len(text) - len(after)]
    inside = re.fullmatch(r'"((?:[^"\\${}\n]|\\["\\]|\\x[0-9a-f]{2})*)"', literal)
    assert inside
    escaped = re.compile(r'\\(?:(["\\])|x(..))')
    assert escaped.sub(lambda found: found[1] or chr(int(found[2], 16)), inside[1]) == name


@pytest.mark.parametrize("text", ["\ud800", "SELECT '\ud800' FROM a WHERE $timeFilter"])
def test_a_query_that_is_no_unicode_text_is_refused(text: str) -> None:
    with pytest.raises(BadQueryError):
        render(1, text)


# One statement that reads


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (1, "SHOW MEASUREMENTS"),
        (1, "EXPLAIN ANALYZE SELECT u FROM cpu WHERE $timeFilter"),
        (1, "select u into other from cpu where $timeFilter"),
        (1, "SELECT u FROM cpu WHERE $timeFilter;DROP MEASUREMENT cpu"),
        (
            1,
            "SELECT u FROM cpu WHERE a =~ /'/ AND $timeFilter; DROP MEASUREMENT cpu; SELECT u FROM b WHERE a=~/'/",
        ),
        (1, "SELECT u FROM cpu WHERE $timeFilter -- x"),
        (1, "SELECT u FROM cpu WHERE $timeFilter /* x */"),
        (1, "SELECT mean(u) FROM cpu GROUP BY time(1s)"),
        (2, f'{SOUND[2]} |> to(bucket: "x")'),
        (2, f'w = to\n{SOUND[2]} |> w(bucket: "x")'),
        (2, f'{SOUND[2]} |> wideTo(bucket: "x")'),
        (2, f'import "experimental"\n{SOUND[2]} |> experimental.to(bucket: "x")'),
        (2, f'import "http"\n{SOUND[2]}'),
        (2, f'import h "experimental/http" {SOUND[2]}'),
        (2, f'import "math"\nimport "sql"\n{SOUND[2]}'),
        (2, f'import "influxdata/influxdb/secrets"\n{SOUND[2]}'),
        (2, f'{SOUND[2]}\nimport "socket"'),
        (2, f'package main\nimport "slack"\n{SOUND[2]}'),
        (2, SOUND[2].replace("v.defaultBucket", 'v.defaultBucket, host: "http://evil"')),
        (2, SOUND[2].replace("v.defaultBucket", 'v.defaultBucket, "host" : "http://evil"')),
        (2, f'host = "x"\n{SOUND[2].replace("v.defaultBucket", "v.defaultBucket, host")}'),
        (2, f"{SOUND[2]} // to do"),
        (2, f'option task = {{name: "x"}}\n{SOUND[2]}'),
        (2, "buckets()"),
        (2, "from(bucket: v.defaultBucket) |> range(start: 0)"),
        (3, "DROP TABLE cpu"),
        (3, "INSERT INTO cpu SELECT * FROM cpu WHERE $__timeFilter"),
        (3, "WITH x AS (SELECT 1) INSERT INTO cpu SELECT * FROM x WHERE $__timeFilter"),
        (3, "SELECT * FROM cpu WHERE $__timeFilter; SELECT 1"),
        (3, "SELECT * FROM cpu WHERE $__timeFilter -- x"),
        (3, "SELECT * FROM cpu /* x */ WHERE $__timeFilter"),
        (3, "COPY cpu TO 'x'"),
        (3, "SELECT * FROM cpu"),
    ],
)
def test_what_is_not_one_reading_statement_inside_the_window_is_refused(version: int, text: str) -> None:
    with pytest.raises(BadQueryError):
        render(version, text)
    with pytest.raises(ValidationError, match=f"the {LANGUAGES[version].name} of cpu: "):
        settings(version, metrics={"cpu": text})


def test_flux_that_computes_is_let_through() -> None:
    head, tail = (
        'import "math"\nimport s "strings"\n',
        ' |> group(columns: ["host"]) |> map(fn: (r) => ({r with a: r.host}))',
    )
    text = head + SOUND[2] + tail
    assert render(2, text).text.startswith('import "math"\nimport s "strings"\nfrom(')


@pytest.mark.parametrize(
    ("version", "compared"),
    [
        (1, '"service" != $service'),
        (1, '"service" !~ /^$service$/'),
        (1, "\"service\" = 'x-$service'"),
        (1, "\"service\" = '$service-x'"),
        (1, "a = 'b' AND $service"),
        (2, "r.service != $service"),
        (2, 'r.note == "r.service == $service"'),
        (2, 'r.service == "x-$service"'),
        (3, "service <> $service"),
        (3, "service IN ('x-$service')"),
        (3, "service LIKE '%$service'"),
    ],
)
def test_a_template_in_which_a_name_could_go_wrong_is_refused_with_the_settings(
    version: int, compared: str
) -> None:
    text = re.sub(r'"?(?:r\.)?service"? (?:=|==|IN) \(?\$service\)?', lambda _: compared, SOUND[version])
    assert compared in text
    with pytest.raises(ValidationError, match=r"\$service can only be compared"):
        settings(version, metrics={"cpu": text})


# Settings


@pytest.mark.parametrize(
    ("version", "more", "words"),
    [
        (1, {"database": ""}, "version 1 needs database"),
        (1, {"token": "x"}, "version 1 has no token"),
        (2, {"org": "", "bucket": ""}, "version 2 needs bucket, org"),
        (2, {"database": "x"}, "version 2 has no database"),
        (2, {"username": "x"}, "either token or another way in"),
        (3, {"bucket": "x"}, "version 3 has no bucket"),
        (1, {"service_tag": 'a"b'}, "String should match"),
    ],
)
def test_settings_that_do_not_fit_the_version_are_refused(version: int, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(version, **more)


def test_a_version_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError):
        InfluxDB.Settings.model_validate({"plugin": "influxdb", "url": "http://x", "version": 4, "database": "d"})


@pytest.mark.parametrize(("version", "preset"), [(1, "telegraf"), (2, "telegraf-flux")])
def test_the_presets_are_sound_in_their_language(version: int, preset: str) -> None:
    metrics = settings(version, metrics=PRESETS[preset], service_tag="host").metrics
    for metric in metrics.values():
        text = render(version, metric.query, "a", "b", service_tag="host").text
        assert re.search(r"\$(?!s\d|/)", text) is None
        assert "v." not in text
        assert text.count("(") == text.count(")")


def test_a_series_never_has_more_points_than_are_allowed() -> None:
    month = Window(0, 30 * 86_400_000)
    assert widened(month, 15_000) == 240_000
    assert widened(Window(0, 11_000 * 15_000), 15_000) == 15_000
