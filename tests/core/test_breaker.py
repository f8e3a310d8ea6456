"""When a source is left alone, by a clock that the tests hold in their hand."""

import pytest

from telemetry_mcp.breaker import FAILURES, OPEN_MAX_S, OPEN_S, PAUSE_FIRST_S, PAUSE_MAX_S, Breaker, Pause
from telemetry_mcp.errors import RateLimitedError, UnavailableError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.enter()
        breaker.failed()


def test_it_opens_with_the_fifth_failure_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 4)
    assert breaker.state == "closed"
    fail(breaker)
    assert (breaker.state, breaker.wait_s) == ("open", OPEN_S)
    with pytest.raises(UnavailableError, match="5 failures in a row; next try in 15 s"):
        breaker.enter()


def test_a_success_between_begins_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, 4)
    breaker.enter()
    breaker.succeeded()
    fail(breaker, 4)
    assert breaker.state == "closed"


def test_after_the_pause_exactly_one_probe_is_let_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += OPEN_S - 0.001
    with pytest.raises(UnavailableError):
        breaker.enter()
    clock.now += 0.001
    assert breaker.state == "half_open"
    breaker.enter()
    assert breaker.state == "half_open"
    with pytest.raises(UnavailableError, match="one probe is under way"):
        breaker.enter()


def test_a_good_probe_closes_it_and_forgets_the_past(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += OPEN_S
    breaker.enter()
    breaker.succeeded()
    assert (breaker.state, breaker.failures, breaker.open_s, breaker.wait_s) == ("closed", 0, OPEN_S, 0)
    fail(breaker, 4)
    assert breaker.state == "closed"


def test_each_bad_probe_doubles_the_pause_up_to_two_minutes(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    pauses = []
    for _ in range(5):
        clock.now += breaker.wait_s
        fail(breaker)
        pauses.append(breaker.wait_s)
    assert pauses == [30, 60, 120, OPEN_MAX_S, OPEN_MAX_S]


def test_a_probe_that_its_caller_gave_up_lets_the_next_one_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += OPEN_S
    breaker.enter()
    breaker.left()
    assert breaker.state == "half_open"
    breaker.enter()


def test_a_straggler_that_fails_while_it_is_open_does_not_double_the_pause(breaker: Breaker, clock: Clock) -> None:
    for _ in range(FAILURES + 1):
        breaker.enter()
    for _ in range(FAILURES + 1):
        breaker.failed()
    assert (breaker.state, breaker.open_s) == ("open", OPEN_S)


@pytest.mark.parametrize(
    ("hint_s", "least_s"), [(5.0, 5.0), (0.0, 0.0), (3600.0, PAUSE_MAX_S), (float("inf"), PAUSE_MAX_S)]
)
def test_a_rate_limit_pauses_for_the_hint_and_never_longer_than_a_minute(
    clock: Clock, hint_s: float, least_s: float
) -> None:
    pause = Pause(clock)
    pause.limited(hint_s)
    assert least_s <= pause.wait_s <= least_s * 1.1


def test_without_a_hint_the_pause_is_two_seconds_and_doubles_up_to_a_minute(clock: Clock) -> None:
    pause = Pause(clock)
    for expected in (PAUSE_FIRST_S, 4, 8, 16, 32, PAUSE_MAX_S, PAUSE_MAX_S):
        clock.now = pause.until or clock.now
        pause.limited(None)
        assert expected <= pause.wait_s <= expected * 1.1


def test_a_success_takes_the_pause_back_to_two_seconds(clock: Clock) -> None:
    pause = Pause(clock)
    pause.limited(None)
    pause.limited(None)
    pause.succeeded()
    clock.now = pause.until
    pause.limited(None)
    assert PAUSE_FIRST_S <= pause.wait_s <= PAUSE_FIRST_S * 1.1


def test_a_shorter_hint_does_not_shorten_a_pause(clock: Clock) -> None:
    pause = Pause(clock)
    pause.limited(50)
    pause.limited(1)
    assert pause.wait_s >= 50


def test_while_paused_everyone_is_told_for_how_long(clock: Clock) -> None:
    pause = Pause(clock)
    pause.enter()
    pause.limited(30)
    with pytest.raises(RateLimitedError, match=r"backing off for another 3[0-3] s") as refused:
        pause.enter()
    assert refused.value.retry_after_s == pause.wait_s
    clock.now = pause.until
    pause.enter()
