"""Error budgets; G numbers are the golden vectors of the analysis research."""

import math
from decimal import Decimal

import pytest

from telemetry_mcp.analysis.slo import budget, burn_rate, exhaustion_ms, objective_ppm, verdict

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
def test_g20_the_budget_comes_exactly_from_the_decimal_text(objective: str | float | Decimal, ppm: int) -> None:
    assert objective_ppm(objective) == ppm


@pytest.mark.parametrize("objective", ["0", "-1", "100.0001", "nan", "inf", "", "three nines", "99.99999", "1e3"])
def test_an_objective_that_is_none_is_refused(objective: str) -> None:
    with pytest.raises(ValueError, match="objective"):
        objective_ppm(objective)


@pytest.mark.parametrize(
    ("bad", "consumed", "remaining", "minutes_left"),
    [pytest.param(500, 0.5, 0.5, 21.6, id="G1"), pytest.param(3000, 3.0, -2.0, -86.4, id="G2")],
)
def test_a_budget_counts_in_events_and_minutes(
    bad: int, consumed: float, remaining: float, minutes_left: float
) -> None:
    found = budget(bad, 1_000_000, 1000, window_ms=MONTH_MS)
    assert (found.consumed, found.remaining, found.allowed) == (consumed, remaining, 1000)
    assert (found.allowed_minutes, found.remaining_minutes) == (43.2, minutes_left)
    assert found.ratio == (1_000_000 - bad) / 1_000_000
    assert burn_rate(bad, 1_000_000, 1000) == consumed


@pytest.mark.parametrize(("days", "minutes"), [(28, 40.32), (30, 43.2), (31, 44.64), (90, 129.6)])
def test_g12_the_minutes_of_three_nines(days: int, minutes: float) -> None:
    assert budget(0, 1, objective_ppm("99.9"), window_ms=days * DAY_MS).allowed_minutes == minutes


@pytest.mark.parametrize(
    ("bad", "valid", "ppm", "burn"),
    [
        pytest.param(144, 10_000, 1000, 14.4, id="G4-exactly-at-the-threshold"),
        pytest.param(1, 20, 1000, 50, id="G15"),
        pytest.param(1, 100_000_000, 10, 0.001, id="G17-not-rounded-to-0"),
        pytest.param(14_449, 1_000_000, 1000, 14.449, id="G18-not-rounded-to-14.4"),
    ],
)
def test_a_burn_rate_is_not_rounded(bad: int, valid: int, ppm: int, burn: float) -> None:
    assert burn_rate(bad, valid, ppm) == burn


def test_g7_missing_slices_are_left_out_of_the_budget() -> None:
    found = budget(50, 8640 - 40, objective_ppm("99"))
    assert found.ratio == pytest.approx(0.99418605, abs=5e-9)
    assert found.consumed == pytest.approx(0.5814, abs=5e-5)


def test_g10_errors_weigh_by_events() -> None:
    found = budget(180, 85_200, 1000)
    assert found.consumed == pytest.approx(2.11, abs=5e-3)
    assert found.remaining == pytest.approx(-1.11, abs=5e-3)


def test_g16_an_objective_of_100_percent_is_breached_by_the_first_failure() -> None:
    spent = budget(1, 100, 0, window_ms=MONTH_MS)
    assert (spent.consumed, spent.remaining, spent.allowed) == (math.inf, -math.inf, 0)
    assert spent.remaining_minutes == -432
    assert verdict(spent) == "BREACHED"
    clean = budget(0, 100, 0, window_ms=MONTH_MS)
    assert (clean.consumed, clean.remaining, clean.remaining_minutes) == (0, 1, 0)
    assert verdict(clean) == "COMPLIANT"


def test_g19_without_traffic_nothing_is_known_but_the_allowance() -> None:
    found = budget(0, 0, 1000, window_ms=MONTH_MS)
    assert (found.ratio, found.consumed, found.remaining, found.remaining_minutes) == (None, None, None, None)
    assert found.allowed_minutes == 43.2
    assert burn_rate(0, 0, 0) is None
    assert verdict(found, recent_burn=100) == "UNKNOWN"


def test_g6_time_to_exhaustion() -> None:
    assert exhaustion_ms(0.4, 6, MONTH_MS) == 48 * 3_600_000
    assert exhaustion_ms(0.4, 0.5, MONTH_MS) is None
    assert exhaustion_ms(0.4, 1, MONTH_MS) is None


def test_a_spent_budget_is_exhausted_now_and_an_unknown_one_never_known_to_be() -> None:
    assert exhaustion_ms(-2, 0.5, MONTH_MS) == 0
    assert exhaustion_ms(0.4, math.inf, MONTH_MS) == 0
    assert exhaustion_ms(None, 6, MONTH_MS) is None
    assert exhaustion_ms(0.4, None, MONTH_MS) is None


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
