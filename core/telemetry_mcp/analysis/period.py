"""Calendar periods in a named time zone."""

from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Calendar = Literal["day", "week", "month", "quarter", "year"]

MONTHS: dict[Calendar, int] = {"month": 1, "quarter": 3, "year": 12}
DAYS: dict[Calendar, int] = {"day": 1, "week": 7}


def calendar_period(now_ms: int, unit: Calendar, zone: str) -> tuple[int, int]:
    """Start and end (not included) of the calendar period that `now_ms` lies in, in epoch milliseconds.

    Periods begin at midnight of `zone`, an IANA name such as Europe/Berlin; weeks on Monday. A day on which clocks
    change has 23 or 25 hours. Where clocks skip midnight, the period begins when they do. Raises ValueError for a
    unit or a zone that is not known.
    """
    first, clock = _first_day(now_ms, unit, zone)
    return _midnight_ms(first, clock), _midnight_ms(_moved(first, unit, 1), clock)


def previous_period(now_ms: int, unit: Calendar, zone: str) -> tuple[int, int]:
    """Start and end of the calendar period before that of `now_ms`; it ends where that begins."""
    first, clock = _first_day(now_ms, unit, zone)
    return _midnight_ms(_moved(first, unit, -1), clock), _midnight_ms(first, clock)


def _first_day(now_ms: int, unit: Calendar, zone: str) -> tuple[date, ZoneInfo]:
    clock = zone_named(zone)
    today = datetime.fromtimestamp(now_ms // 1000, clock).date()
    if unit in MONTHS:
        months = MONTHS[unit]
        return today.replace(month=(today.month - 1) // months * months + 1, day=1), clock
    if unit not in DAYS:
        raise ValueError(f"a calendar period is one of {', '.join((*DAYS, *MONTHS))}: {unit}")
    return today - timedelta(days=today.weekday() if unit == "week" else 0), clock


def zone_named(zone: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises ValueError for one that is not known."""
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no time zone is called {zone!r}; use a name such as Europe/Berlin or UTC") from None


def _moved(first: date, unit: Calendar, by: int) -> date:
    if unit in DAYS:
        return first + timedelta(days=by * DAYS[unit])
    months = first.year * 12 + first.month - 1 + by * MONTHS[unit]
    return date(months // 12, months % 12 + 1, 1)


def _midnight_ms(day: date, clock: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=clock).timestamp()) * 1000
