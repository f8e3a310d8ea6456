"""Calendar periods, and the days on which clocks change."""

from datetime import UTC, datetime

import pytest

from telemetry_mcp.analysis.period import Calendar, calendar_period, previous_period

BERLIN = "Europe/Berlin"
HOUR_MS = 3_600_000


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def period(unit: Calendar, now_ms: int, zone: str = "UTC") -> tuple[int, int]:
    return calendar_period(now_ms, unit, zone)


@pytest.mark.parametrize(
    ("unit", "start", "end"),
    [
        ("day", (2026, 11, 28), (2026, 11, 29)),
        ("week", (2026, 11, 23), (2026, 11, 30)),
        ("month", (2026, 11, 1), (2026, 12, 1)),
        ("quarter", (2026, 10, 1), (2027, 1, 1)),
        ("year", (2026, 1, 1), (2027, 1, 1)),
    ],
)
def test_a_period_begins_and_ends_at_midnight(
    unit: Calendar, start: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    assert period(unit, utc(2026, 11, 28, 13, 5)) == (utc(*start), utc(*end))
    assert period(unit, utc(*start)) == period(unit, utc(*end) - 1) == (utc(*start), utc(*end))
    assert period(unit, utc(*end))[0] == utc(*end)


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_a_day_has_the_hours_that_its_clocks_show(day: tuple[int, int, int], hours: int) -> None:
    start, end = period("day", utc(*day, 12), BERLIN)
    assert end - start == hours * HOUR_MS
    for instant in range(start, end, HOUR_MS // 2):
        assert period("day", instant, BERLIN) == (start, end)


def test_months_and_weeks_with_a_change_of_clocks_differ_by_an_hour() -> None:
    march, october = period("month", utc(2026, 3, 10), BERLIN), period("month", utc(2026, 10, 10), BERLIN)
    assert march == (utc(2026, 2, 28, 23), utc(2026, 3, 31, 22))
    assert october == (utc(2026, 9, 30, 22), utc(2026, 10, 31, 23))
    week = period("week", utc(2026, 10, 25), BERLIN)
    assert week[1] - week[0] == 169 * HOUR_MS


def test_the_zone_decides_which_day_it_is() -> None:
    late = utc(2026, 12, 31, 23, 30)
    assert period("year", late, BERLIN)[0] == utc(2026, 12, 31, 23)
    assert period("year", late, "America/New_York")[0] == utc(2026, 1, 1, 5)
    assert period("month", utc(2027, 1, 1, 3), "America/New_York")[0] == utc(2026, 12, 1, 5)


@pytest.mark.parametrize("unit", ["day", "week", "month", "quarter", "year"])
@pytest.mark.parametrize("zone", ["UTC", BERLIN, "Asia/Kolkata", "America/Sao_Paulo"])
def test_periods_follow_each_other_without_a_gap(unit: Calendar, zone: str) -> None:
    now = utc(2027, 3, 3, 7)
    for _ in range(30):
        start, end = period(unit, now, zone)
        before = previous_period(now, unit, zone)
        assert start <= now < end
        assert before[1] == start
        assert period(unit, before[0], zone) == before
        now = before[0]


def test_a_day_without_a_midnight_begins_when_clocks_are_moved() -> None:
    # Sao Paulo went from 00:00 to 01:00 on 4 November 2018, that is at 03:00 UTC.
    assert period("day", utc(2018, 11, 4, 12), "America/Sao_Paulo") == (utc(2018, 11, 4, 3), utc(2018, 11, 5, 2))


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "../../etc/passwd", "CET "])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        period("day", 0, zone)


def test_a_unit_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="calendar period"):
        period("decade", 0)  # type: ignore[arg-type]
