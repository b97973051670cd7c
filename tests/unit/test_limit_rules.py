"""Limits as they are decided: the bucket, which rules count for whom, and what a caller is told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import app
from app.bootstrap import Settings
from app.bootstrap.limits import limits_of
from app.chat.model import Scope
from app.errors import RateLimited
from app.limits.bucket import WINDOW_SECONDS, Level, take
from app.limits.local import LocalCounts
from app.limits.rules import Limit, Limits, Rule, Standing, error, headers, refusal, rules
from app.settings import ConfigurationError

USER, KEY, OWNER = Scope(1, "user:5", "member"), Scope(1, "key:9", "member"), Scope(1)
LIMITS = Limits(user=Limit(60, 2, 1000), key=Limit(6), tenant=Limit(600, 0, 5000, 9.5))


@given(
    limit=st.integers(1, 1000),
    asked=st.lists(st.tuples(st.floats(0, 90), st.integers(1, 50)), max_size=200),
)
def test_no_minute_holds_more_than_a_full_bucket_and_what_flowed_in(
    limit: int, asked: list[tuple[float, int]]
) -> None:
    full_at, now = 0.0, 0.0
    taken: list[tuple[float, int]] = []
    for pause, amount in asked:
        now += pause
        amount = min(amount, limit)
        full_at, level = take(full_at, now, limit, amount)
        if level.allowed:
            taken.append((now, amount))
        assert 0 <= level.remaining <= limit
        assert level.allowed == (level.wait_seconds == 0)
    for begin, _ in taken:
        within = sum(amount for at, amount in taken if begin <= at < begin + WINDOW_SECONDS)
        assert within <= 2 * limit
    if taken:
        lasted = taken[-1][0] - taken[0][0]
        assert sum(amount for _, amount in taken) <= limit + lasted * limit / 60 + 1e-3


@given(limit=st.integers(1, 1000), amount=st.integers(1, 5000), used=st.integers(0, 1000))
def test_whoever_waits_as_told_is_let_in(limit: int, amount: int, used: int) -> None:
    full_at, _ = take(0.0, 1e9, limit, min(used, limit)) if used else (0.0, None)
    after, level = take(full_at, 1e9, limit, amount)
    if not level.allowed:
        assert after == max(full_at, 1e9)  # nothing was taken
        _, again = take(full_at, 1e9 + level.wait_seconds + 1e-6, limit, amount)
        assert again.allowed


@given(limit=st.integers(1, 500))
def test_a_full_bucket_gives_exactly_its_limit_at_once(limit: int) -> None:
    full_at, allowed = 0.0, 0
    for _ in range(limit + 3):
        full_at, level = take(full_at, 1_000_000.0, limit, 1)
        allowed += level.allowed
    assert allowed == limit


def test_more_than_the_bucket_holds_is_let_in_when_it_is_full_and_paid_off() -> None:
    full_at, level = take(0.0, 1000.0, 100, 250)
    assert (level.allowed, level.remaining) == (True, 0)
    _, level = take(full_at, 1000.0, 100, 1)
    assert level.wait_seconds == pytest.approx(90.6)


def test_whose_limits_count_for_whom() -> None:
    def found(scope: Scope) -> list[tuple[str, str, str, int]]:
        wanted = rules(LIMITS, scope, requests=1, tokens=40, streams=1)
        return [(each.kind, each.who, each.subject, each.limit) for each in wanted]

    tenant = [("requests", "tenant", "tenant", 600), ("tokens", "tenant", "tenant", 5000)]
    own = [("requests", 60), ("tokens", 1000), ("streams", 2)]
    assert found(USER) == [(kind, "user", "user:5", limit) for kind, limit in own] + tenant
    assert found(KEY) == [("requests", "key", "key:9", 6), *tenant]
    assert found(OWNER) == tenant
    assert rules(LIMITS, USER, tokens=0) == []
    assert rules(Limits(), USER, requests=1, tokens=1, streams=1) == []
    assert (Limits().any, LIMITS.any) == (False, True)


def standing(kind: str, who: str, remaining: int, wait: float = 0.0) -> Standing:
    rule = Rule(kind, who, who, 60, 1)  # type: ignore[arg-type]
    return Standing(rule, Level(wait == 0, remaining, 12.2, wait))


def test_headers_tell_of_the_requests_that_are_closest_to_their_end() -> None:
    standings = [
        standing("tokens", "user", 1),
        standing("requests", "user", 20),
        standing("requests", "tenant", 10),
        standing("streams", "user", 0),
    ]
    assert headers(standings) == {
        "RateLimit-Limit": "60",
        "RateLimit-Remaining": "10",
        "RateLimit-Reset": "13",
        "RateLimit-Policy": '60;w=60;comment="tokens of the user", '
        '60;w=60;comment="requests of the user", 60;w=60;comment="requests of the tenant"',
    }
    assert headers([]) == {}
    assert "RateLimit-Policy" not in headers([standing("streams", "user", 1)])


def test_a_refused_caller_is_told_of_what_keeps_him_out_for_longest() -> None:
    standings = [standing("requests", "user", 0, 3.2), standing("tokens", "tenant", 0, 7.5)]
    refused = refusal(standings)
    assert refused == standings[1]
    told = error(refused)
    assert (told.code, told.status, told.retryable, told.retry_after) == (
        "rate_limited", 429, True, 8.0,
    )  # fmt: skip
    assert told.message == (
        "This tenant has used up its models' tokens of this minute; try again in 8 s."
    )
    assert headers(standings)["RateLimit-Remaining"] == "0"
    assert "wait for one to end" in error(standing("streams", "key", 0, 1.0)).message
    assert refusal([standing("requests", "user", 0)]) is None


def test_nginx_refuses_in_the_same_words_for_programs() -> None:
    config = (Path(app.__file__).parent.parent / "nginx" / "problems.conf").read_text()
    told = json.loads(config.partition("return 429 '")[2].partition("'")[0])
    ours = (RateLimited.code, RateLimited.status, RateLimited.retryable)
    assert (told["code"], told["status"], told["retryable"]) == ours
    assert told["type"] == f"urn:citestream:problem:{RateLimited.code}"


def test_a_cost_that_nothing_has_is_not_bounded_silently() -> None:
    limits = {"user": {"cost_per_day": 5}, "tenant": {"streams": 3}}
    with pytest.raises(ConfigurationError, match="CITESTREAM_PRICES"):
        limits_of(Settings(limits=limits))
    found = limits_of(Settings(limits=limits, prices={"gpt-4o-mini": (0.15, 0.6)}))
    assert found == Limits(user=Limit(cost_per_day=5), tenant=Limit(streams=3))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_process_alone_allows_its_share_and_at_least_one() -> None:
    clock = Clock()
    counts = LocalCounts(clock, share=4)
    ten, two = Rule("requests", "user", "user:1", 10, 1), Rule("requests", "user", "user:2", 2, 1)
    for rule, most in ((ten, 2), (two, 1)):
        allowed = [counts.take(1, [rule])[0].level.allowed for _ in range(most + 1)]
        assert allowed == [True] * most + [False]
    assert counts.take(2, [ten])[0].level.allowed  # another tenant's user of the same number
    clock.now += 30
    assert counts.take(1, [ten])[0].level.allowed


def test_all_is_taken_or_nothing() -> None:
    counts = LocalCounts(Clock(), share=1)
    many, one = Rule("requests", "user", "u", 5, 1), Rule("requests", "tenant", "tenant", 1, 1)
    assert refusal(counts.take(1, [many, one])) is None
    for _ in range(3):
        assert refusal(counts.take(1, [many, one]))
    assert counts.take(1, [many])[0].level.remaining == 3


def test_what_was_not_used_is_given_back_and_what_was_used_beyond_is_owed() -> None:
    counts = LocalCounts(Clock(), share=1)
    tokens = Rule("tokens", "user", "u", 100, 80)
    assert counts.take(1, [tokens])[0].level.remaining == 20
    counts.adjust(1, [replace(tokens, amount=-70)])
    assert counts.take(1, [tokens])[0].level.remaining == 10
    counts.adjust(1, [replace(tokens, amount=100)])
    level = counts.take(1, [replace(tokens, amount=1)])[0].level
    assert (level.allowed, level.wait_seconds) == (False, pytest.approx(54.6))


def test_streams_are_counted_while_they_are_open() -> None:
    counts = LocalCounts(Clock(), share=2)
    streams = [Rule("streams", "key", "key:1", 4, 1)]
    for _ in range(2):
        assert refusal(counts.take(1, streams)) is None
        counts.begin(1, streams)
    assert refusal(counts.take(1, streams))
    counts.end(1, streams)
    assert refusal(counts.take(1, streams)) is None
