"""Whether a backend's clock agrees with ours, by the Date of its answer."""

from __future__ import annotations

import pytest

from telemetry_mcp.clock import clock_check, date_s

NOW_S = 1_700_000_040.0
"""2023-11-14T22:14:00Z."""


@pytest.mark.parametrize(
    ("date", "ok", "words"),
    [
        ("Tue, 14 Nov 2023 22:14:00 GMT", True, "0 s behind"),
        ("Tue, 14 Nov 2023 22:13:30 GMT", True, "30 s behind"),
        ("Tue, 14 Nov 2023 22:16:00 GMT", False, "120 s ahead"),
        ("Tue, 14 Nov 2023 22:00:00 GMT", False, "840 s behind"),
        ("nonsense", True, "no Date"),
    ],
)
def test_a_clock_that_is_off_by_more_than_half_a_minute_is_a_fault(date: str, ok: bool, words: str) -> None:
    check = clock_check(date_s({"date": date}), NOW_S)
    assert check.ok is ok
    assert words in check.detail
    assert ("NTP" in check.fix) is not ok


def test_an_answer_without_a_date_tells_no_time() -> None:
    assert date_s({}) is None
