"""What counts as a change between two runs, and what as noise."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.bench.comparing import compare, judge, rank_sum_p
from app.bench.figures import Figure
from app.bench.machine import Machine
from app.bench.results import Outcome, Results

LOW, HIGH = [1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.1, 2.2, 2.3, 2.4]


@pytest.mark.parametrize(
    ("old", "new", "p"),
    [
        # The exact distribution, as in Mann and Whitney's table 1: 2 / C(10, 5), 2 / C(6, 3), …
        (LOW, HIGH, 2 / 252),
        ([1, 2, 3], [4, 5, 6], 2 / 20),
        ([1, 2, 4], [3, 5, 6], 4 / 20),
        ([1, 4, 6], [2, 3, 5], 20 / 20),
        ([1, 2], [3, 4, 5, 6, 7], 2 / 21),
        # Equal values share their ranks.
        ([1, 1, 1], [1, 1, 1], 1),
        ([1, 1, 1], [2, 2, 2], 2 / 20),
        ([1, 1, 2], [2, 3, 3], 4 / 20),
    ],
)
def test_the_exact_rank_sum_test(old: list[float], new: list[float], p: float) -> None:
    assert rank_sum_p(old, new) == pytest.approx(p)
    assert rank_sum_p(new, old) == pytest.approx(p)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (Figure("a", "ms", LOW), Figure("a", "ms", HIGH), "worse"),
        (Figure("a", "ms", HIGH), Figure("a", "ms", LOW), "better"),
        (Figure("a", "×", LOW, better="higher"), Figure("a", "×", HIGH, better="higher"), "better"),
        (Figure("a", "tokens/s", LOW), Figure("a", "tokens/s", HIGH), "better"),
        (Figure("a", "ms", LOW), Figure("a", "ms", HIGH, yardstick=True), "yardstick"),
        (Figure("a", "ms", LOW), Figure("a", "ms", LOW), "same"),
        # Three of five below: such a difference comes by chance.
        (Figure("a", "ms", LOW), Figure("a", "ms", [1.05, 1.1, 1.6, 1.7, 1.8]), "same"),
        # Apart, and by 1 %.
        (Figure("a", "ms", [99, 99, 99, 99, 99]), Figure("a", "ms", [100] * 5), "same"),
        # Three rounds: apart and by much, or not.
        (Figure("a", "ms", [1, 2, 3]), Figure("a", "ms", [4, 5, 6]), "worse"),
        (Figure("a", "ms", [1, 2, 4]), Figure("a", "ms", [3, 5, 6]), "same"),
        (Figure("a", "ms", [10, 11, 12]), Figure("a", "ms", [12.5, 13, 13.5]), "same"),
        # One value: only a limit says something.
        (Figure("a", "MB", [10]), Figure("a", "MB", [20]), "one value"),
        (Figure("a", "MB", [10], 15), Figure("a", "MB", [20], 15), "worse"),
        (Figure("a", "MB", [20], 15), Figure("a", "MB", [10, 11], 15), "better"),
        (Figure("a", "MB", [20], 15), Figure("a", "MB", [30], 15), "one value"),
        (Figure("a", "", [0, 0, 0, 0, 0], 0), Figure("a", "", [1, 2, 3, 4, 5], 0), "worse"),
    ],
)
def test_verdicts(old: Figure, new: Figure, verdict: str) -> None:
    assert judge(old, new) == verdict


def test_two_files() -> None:
    machine = Machine("one", 2, 8.0, "Linux", "3.11", {}, {"redis": "8.1"}, None)
    old = Results(
        datetime(2026, 1, 1, tzinfo=UTC),
        machine,
        [
            Outcome("cache", "", 5, 1, 0.1, [Figure("a", "ms", LOW), Figure("gone", "ms", LOW)]),
            Outcome("stream", "", 5, 1, 0.1, [Figure("a", "ms", LOW)]),
        ],
    )
    new = replace(
        old,
        machine=replace(machine, libraries={"redis": "8.2"}, commit="abc"),
        outcomes=[
            Outcome("cache", "", 5, 1, 0.1, [Figure("a", "ms", HIGH), Figure("new", "ms", LOW)]),
            Outcome("stream", "", 5, 1, 0.1, [], "It could not start."),
            Outcome("cold", "", 5, 1, 1.5),
        ],
        profile="fast",
        settings={"port": 1},
    )
    comparison = compare(old, new)
    assert [(each.bench, each.new.name) for each in comparison.of("worse")] == [("cache", "a")]
    assert comparison.of("worse")[0].change == pytest.approx(1 / 1.2)
    assert comparison.only_old == ["cache: gone", "stream: a"]
    assert comparison.only_new == ["cache: new"]
    assert comparison.notes == [
        "redis: 8.1 then, 8.2 now",
        "commit: none then, abc now",
        "profile: none then, fast now",
        "cold: not to be trusted, others kept 1.5 cores at work now",
        "stream failed now: It could not start.",
    ]
