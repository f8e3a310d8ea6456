"""Error budgets, verdicts and the change between periods. The golden vectors are in test_slo_golden.py."""

import math
from decimal import Decimal

import numpy as np
import pytest

from telemetry_mcp.analysis.slo import (
    assess,
    budget,
    burn_rate,
    compare,
    exhaustion_ms,
    objective_ppm,
    verdict,
)
from telemetry_mcp.analysis.tally import Missing, Tally, Total

DAY_MS = 86_400_000
MONTH_MS = 30 * DAY_MS


@pytest.mark.parametrize(
    ("objective", "ppm"),
    [
        ("99.9", 1000),
        (99.9, 1000),
        (Decimal("99.95"), 500),
        ("99.999", 10),
        (100, 0),
        (" 99.0 ", 10_000),
        (0.0001, 999_999),
    ],
)
def test_the_budget_comes_exactly_from_the_decimal_text(objective: str | float | Decimal, ppm: int) -> None:
    assert objective_ppm(objective) == ppm


@pytest.mark.parametrize(
    "objective", ["0", "-1", "100.0001", "nan", "inf", "", "three nines", "99.99999", "1e3", "5e-324"]
)
def test_an_objective_that_is_none_is_refused(objective: str) -> None:
    with pytest.raises(ValueError, match="objective"):
        objective_ppm(objective)


def test_an_objective_of_100_percent_has_its_minutes_overspent_by_the_first_failure() -> None:
    spent = budget(1, 100, 0, window_ms=MONTH_MS)
    assert (spent.consumed, spent.remaining, spent.allowed) == (math.inf, -math.inf, 0)
    assert spent.remaining_minutes == -432
    assert verdict(spent) == "BREACHED"
    clean = budget(0, 100, 0, window_ms=MONTH_MS)
    assert (clean.consumed, clean.remaining, clean.remaining_minutes) == (0, 1, 0)
    assert verdict(clean) == "COMPLIANT"


def test_without_traffic_nothing_is_known_but_the_allowance() -> None:
    found = budget(0, 0, 1000, window_ms=MONTH_MS)
    assert (found.ratio, found.consumed, found.remaining, found.remaining_minutes) == (None, None, None, None)
    assert found.allowed_minutes == 43.2
    assert burn_rate(0, 0, 0) is None
    assert verdict(found, recent_burn=100) == "UNKNOWN"


def test_a_spent_budget_is_exhausted_now_and_an_unknown_one_never_known_to_be() -> None:
    assert exhaustion_ms(-2, 0.5, MONTH_MS) == 0
    assert exhaustion_ms(0.4, math.inf, MONTH_MS) == 0
    assert exhaustion_ms(None, 6, MONTH_MS) is None
    assert exhaustion_ms(0.4, None, MONTH_MS) is None
    assert exhaustion_ms(0.4, 1, MONTH_MS) is None


@pytest.mark.parametrize(
    ("bad", "word"),
    [(0, "COMPLIANT"), (749, "COMPLIANT"), (750, "AT_RISK"), (1000, "AT_RISK"), (1001, "BREACHED")],
)
def test_the_verdict_follows_what_is_consumed(bad: int, word: str) -> None:
    assert verdict(budget(bad, 1_000_000, 1000)) == word


def test_a_breach_by_one_millisecond_in_a_quarter_is_a_breach() -> None:
    quarter = 90 * DAY_MS
    allowed = quarter // 1000
    assert verdict(budget(allowed, quarter, 1000)) == "AT_RISK"
    assert verdict(budget(allowed + 1, quarter, 1000)) == "BREACHED"


@pytest.mark.parametrize(
    ("burn", "left_days", "word"),
    [
        pytest.param(1.0, None, "COMPLIANT", id="sustainable"),
        pytest.param(1.1, None, "AT_RISK", id="a-rolling-window-looks-one-window-ahead"),
        pytest.param(6.0, 2, "COMPLIANT", id="the-calendar-window-ends-first"),
        pytest.param(9.0, 2, "COMPLIANT", id="both-end-together"),
        pytest.param(6.0, 4, "AT_RISK", id="the-budget-ends-first"),
        pytest.param(None, 4, "COMPLIANT", id="no-recent-burn-known"),
    ],
)
def test_a_recent_burn_that_exhausts_the_budget_in_time_is_a_risk(
    burn: float | None, left_days: int | None, word: str
) -> None:
    found = budget(400, 1_000_000, 1000, window_ms=MONTH_MS)
    left_ms = None if left_days is None else left_days * DAY_MS
    assert verdict(found, recent_burn=burn, left_ms=left_ms) == word


def test_a_projection_without_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        verdict(budget(1, 100, 1000), recent_burn=2)


@pytest.mark.parametrize(
    ("bad", "valid", "ppm"), [(-1, 10, 1), (11, 10, 1), (1, math.inf, 1), (1, 10, -1), (1, 10, 1_000_000)]
)
def test_amounts_that_cannot_be_are_refused(bad: float, valid: float, ppm: int) -> None:
    with pytest.raises(ValueError, match="lie"):
        budget(bad, valid, ppm)


def slices(bad: list[float], *, length_ms: int = 60_000) -> Tally:
    """Slices of time, each bad for such a share of it; NaN where nothing was measured."""
    shares = np.array(bad)
    return Tally(0, length_ms, shares * length_ms, np.where(np.isnan(shares), np.nan, float(length_ms)), "time")


@pytest.mark.parametrize(
    ("measured", "word", "low"),
    [(100, "COMPLIANT", False), (90, "COMPLIANT", False), (89, "COMPLIANT", True), (50, "COMPLIANT", True),
     (49, "UNKNOWN", True), (1, "UNKNOWN", True)],
)  # fmt: skip
def test_low_coverage_lowers_the_verdict(measured: int, word: str, low: bool) -> None:
    found = assess(slices([0.0] * measured + [math.nan] * (100 - measured)), 1000)
    assert (found.verdict, found.low_coverage, found.data) == (word, low, "ok")
    assert found.total.coverage == measured / 100


def test_a_breach_in_the_little_that_was_measured_stays_one_if_the_rest_cannot_mend_it() -> None:
    rest = [math.nan] * 99
    assert assess(slices([0.2, *rest]), 1000).verdict == "BREACHED"
    assert assess(slices([0.1, *rest]), 1000).verdict == "UNKNOWN"


@pytest.mark.parametrize(("missing", "word"), [("bad", "BREACHED"), ("good", "UNKNOWN"), ("last", "UNKNOWN")])
def test_a_policy_breaches_an_objective_but_does_not_clear_one(missing: Missing, word: str) -> None:
    assert assess(slices([0.0, *[math.nan] * 9]), 1000, missing=missing).verdict == word


@pytest.mark.parametrize("missing", ["ignore", "good", "bad", "last"])
def test_no_policy_makes_up_an_indicator(missing: Missing) -> None:
    found = assess(slices([math.nan] * 10), 1000, missing=missing)
    assert (found.verdict, found.data, found.low_coverage) == ("UNKNOWN", "no_data", False)
    assert (found.total.ratio, found.budget.consumed) == (None, None)


def test_minutes_are_those_of_the_whole_period_while_it_lasts() -> None:
    found = assess(slices([0.0] * 10), 1000, window_ms=MONTH_MS, recent_burn=1.0, left_ms=DAY_MS)
    assert (found.budget.allowed_minutes, found.budget.remaining_minutes, found.verdict) == (
        43.2,
        43.2,
        "COMPLIANT",
    )


def test_minutes_are_those_of_the_tally_wherever_it_begins() -> None:
    later = Tally(MONTH_MS, DAY_MS, np.zeros(30), np.ones(30))
    assert assess(later, 1000).budget.allowed_minutes == 43.2


def test_a_change_needs_both_periods() -> None:
    alone = compare(Total(1, 1000), Total(0, 0), 1000)
    assert (alone.points, alone.errors, alone.consumed, alone.consumed_before) == (None, None, 1, None)
    first = compare(Total(1, 1000), Total(0, 1000), 1000)
    assert (first.points, first.errors) == (-0.001, None)
