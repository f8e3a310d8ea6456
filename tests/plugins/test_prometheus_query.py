"""PromQL templates: what is put in stays what it is."""

from __future__ import annotations

import pytest

from telemetry_mcp import BadQueryError, Window
from telemetry_mcp.catalog import BUILT_IN
from telemetry_mcp.unit import factor
from telemetry_mcp_prometheus.preset import PRESETS
from telemetry_mcp_prometheus.query import check_template, render, seconds


def rendered(template: str, *services: str) -> str:
    return render(template, Window(0, 3_600_000), 60_000, 15_000, services)


def test_no_service_means_all_of_them() -> None:
    assert rendered('cpu{service=~"$service"}') == 'cpu{service=~".+"}'


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", "plain"),
        ('say "hi"', r"say \"hi\""),
        ("it's", "it's"),
        ("back\\slash", r"back\\\\slash"),
        ("line\nbreak", r"line\nbreak"),
        ("checkout{eu}", r"checkout\\{eu\\}"),
        ("a.b|c", r"a\\.b\\|c"),
        ("^$(x)[y]*+?", r"\\^\\$\\(x\\)\\[y\\]\\*\\+\\?"),
        ("サービス", "サービス"),
        ("`tick`", "`tick`"),
        ('x"} or vector(1) or {a="', r"x\"\\} or vector\\(1\\) or \\{a=\""),
        ("$__range", r"\\$__range"),
    ],
)
def test_a_name_stays_a_name_inside_double_quotes(name: str, written: str) -> None:
    assert rendered('cpu{service=~"$service"}', name) == f'cpu{{service=~"{written}"}}'


def test_only_the_enclosing_quote_is_escaped() -> None:
    assert rendered("cpu{service=~'$service'}", 'it\'s "a"') == "cpu{service=~'it\\'s \"a\"'}"


def test_backticks_take_a_name_as_it_is_and_refuse_one_with_a_backtick() -> None:
    assert rendered("cpu{service=~`$service`}", 'a.b"c') == r'cpu{service=~`a\.b"c`}'
    with pytest.raises(BadQueryError, match="backtick"):
        rendered("cpu{service=~`$service`}", "a`b")


def test_times_are_written_as_prometheus_durations_and_other_dollars_stay() -> None:
    template = (
        'label_replace(rate(x[$__interval]) + rate(x[$__rate_interval]) + ${__range}, "a", "$1", "b", "(.*)")'
    )
    assert rendered(template) == ('label_replace(rate(x[60s]) + rate(x[75s]) + 3600s, "a", "$1", "b", "(.*)")')


def test_a_comment_is_left_alone() -> None:
    assert rendered("up # it's for $service\n+ 1", "x\r+ vector(1)") == "up # it's for $service\n+ 1"


def test_the_label_of_the_service_is_put_in_outside_and_inside_quotes() -> None:
    template = (
        'label_replace(sum by ($service_label) (x{$service_label=~"$service"}), "$service_label", "$1", "b", "")'
    )
    text = render(template, Window(0, 3_600_000), 60_000, 15_000, ["a.b"], "job")
    assert text == r'label_replace(sum by (job) (x{job=~"a\\.b"}), "job", "$1", "b", "")'


@pytest.mark.parametrize("milliseconds", [-1, 10**14, 1_795_340_000_000_000])
def test_a_time_that_is_no_epoch_in_milliseconds_is_not_answered_with_nothing(
    milliseconds: int,
) -> None:
    with pytest.raises(BadQueryError, match="no time in epoch milliseconds"):
        seconds(milliseconds)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_query_of_a_preset_is_a_good_template_for_a_metric_that_is_known(preset: str) -> None:
    for name, given in PRESETS[preset].items():
        check_template(given["query"])
        assert "$service" in given["query"].replace("$service_label", "")
        assert factor(given["unit"], BUILT_IN[name].unit) is not None
