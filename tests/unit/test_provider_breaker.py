"""When a provider is left alone, and when it is asked again."""

import json
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from app.providers.breaker import Breaker, BreakerLimits, Breakers
from app.providers.policy import pause
from tests.support.logged import logged

LIMITS = BreakerLimits(failures=3, window_seconds=60, open_seconds=10)


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
    return Breaker("openai", LIMITS, clock)


def call(breaker: Breaker, worked: bool | None) -> None:
    ticket = breaker.admit()
    assert ticket is not None
    breaker.settle(ticket, worked)


def fail(breaker: Breaker, times: int = 3) -> None:
    for _ in range(times):
        call(breaker, False)


def test_it_opens_after_so_many_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 2)
    call(breaker, True)
    fail(breaker, 2)
    assert breaker.remaining() == 0
    fail(breaker, 1)
    assert (breaker.state, breaker.remaining(), breaker.admit()) == ("open", 10, None)


def test_failures_further_apart_than_the_window_do_not_add_up(
    breaker: Breaker, clock: Clock
) -> None:
    for _ in range(6):
        fail(breaker, 1)
        clock.now += 31
    assert breaker.state == "closed"
    fail(breaker, 2)
    assert breaker.state == "open"


def test_one_probe_decides_for_all(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 9.9
    assert breaker.admit() is None
    clock.now += 0.1
    probe = breaker.admit()
    assert probe is not None
    assert (breaker.state, breaker.admit(), breaker.remaining()) == ("half open", None, 10)
    breaker.settle(probe, True)
    assert breaker.state == "closed"
    fail(breaker, 2)
    assert breaker.state == "closed", "what was counted before is forgotten"


def test_a_probe_that_fails_opens_it_for_as_long_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    fail(breaker, 1)
    assert (breaker.state, breaker.remaining()) == ("open", 10)


def test_a_probe_that_was_abandoned_leaves_its_place_to_the_next(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker)
    clock.now += 10
    call(breaker, None)
    assert breaker.state == "half open"
    call(breaker, True)
    assert breaker.state == "closed"


@pytest.mark.parametrize("worked", [True, False, None])
def test_calls_from_an_earlier_time_say_nothing(
    breaker: Breaker, clock: Clock, worked: bool | None
) -> None:
    early = breaker.admit()
    assert early is not None
    fail(breaker)
    breaker.settle(early, worked)
    assert (breaker.state, breaker.remaining()) == ("open", 10)
    clock.now += 10
    probe = breaker.admit()
    breaker.settle(early, worked)
    assert probe is not None
    assert breaker.admit() is None, "the probe is still out"


def test_every_change_of_state_is_one_line(breaker: Breaker, clock: Clock) -> None:
    with capture_logs() as lines:
        fail(breaker)
        assert breaker.admit() is None
        clock.now += 10
        call(breaker, False)
        clock.now += 10
        call(breaker, None)
        call(breaker, True)
        call(breaker, True)
    told = [(line["log_level"], line["before"], line["state"]) for line in lines]
    assert told == [
        ("warning", "closed", "open"),
        ("info", "open", "half open"),
        ("warning", "half open", "open"),
        ("info", "open", "half open"),
        ("info", "half open", "closed"),
    ]


def test_the_line_in_the_log_says_which_state(breaker: Breaker) -> None:
    with logged() as text:
        fail(breaker)
    line = json.loads(text.getvalue())
    told = {name: line[name] for name in ("event", "level", "provider", "before", "state")}
    assert told == {
        "event": "provider breaker",
        "level": "warning",
        "provider": "openai",
        "before": "closed",
        "state": "open",
    }
    assert "left_out" not in line


def test_one_breaker_for_each_provider_address_and_key(clock: Callable[[], float]) -> None:
    breakers = Breakers(LIMITS, clock)
    same = breakers.of("openai", "http://a/v1", "sk-secret")
    assert breakers.of("openai", "http://a/v1", "sk-secret") is same
    others = [
        breakers.of("mistral", "http://a/v1", "sk-secret"),
        breakers.of("openai", "http://b/v1", "sk-secret"),
        breakers.of("openai", "http://a/v1", "sk-other"),
        breakers.of("openai", None, "sk-secret"),
    ]
    assert len({id(each) for each in (same, *others)}) == 5
    assert "secret" not in repr(vars(breakers))


@pytest.mark.parametrize(
    ("attempt", "retry_after", "random", "seconds"),
    [
        (0, None, 0.0, 0.125),
        (0, None, 1.0, 0.25),
        (1, None, 0.0, 0.25),
        (1, None, 1.0, 0.5),
        (3, None, 0.5, 1.5),
        (0, 3.0, 0.0, 3.0),
        (2, 3.0, 1.0, 3.25),
        (0, 0.0, 0.4, 0.1),
    ],
)
def test_backoff(attempt: int, retry_after: float | None, random: float, seconds: float) -> None:
    assert pause(attempt, retry_after, 0.25, random) == pytest.approx(seconds)
