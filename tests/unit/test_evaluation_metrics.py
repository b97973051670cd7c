"""Figures of rankings, against values worked out by hand."""

import math

import pytest

from app.evaluation.metrics import first_relevant, ndcg, percentile, recall, reciprocal_rank

ONE = {"a": 1}
GRADED = {"a": 3, "b": 2, "c": 1}
# Gains 3, 2, 1 at ranks 1, 2, 3: 3/log2(2) + 2/log2(3) + 1/log2(4)
IDEAL = 3 + 2 / math.log2(3) + 0.5


@pytest.mark.parametrize(
    ("ranking", "relevant", "k", "expected"),
    [
        (["a"], ONE, 10, 1.0),
        (["x", "a"], ONE, 10, 0.6309297535714575),  # 1 / log2(3)
        (["x", "y", "a"], ONE, 10, 0.5),  # 1 / log2(4)
        (["x", "y", "a"], ONE, 2, 0.0),
        ([], ONE, 10, 0.0),
        (["a"], {}, 10, 0.0),
        (["a", "b", "c"], GRADED, 10, 1.0),
        (["c", "b", "a"], GRADED, 10, (1 + 2 / math.log2(3) + 3 / 2) / IDEAL),
        (["c", "x", "a"], GRADED, 10, 2.5 / IDEAL),
        (["b"], GRADED, 1, 2 / 3),  # the best of one place is the grade 3
        (["a", "b"], {"a": 1, "b": 1, "c": 1}, 2, 1.0),  # no ranking of two is better
    ],
)
def test_ndcg(ranking: list[str], relevant: dict[str, int], k: int, expected: float) -> None:
    assert ndcg(ranking, relevant, k) == pytest.approx(expected, abs=1e-12)


def test_ndcg_of_trec_evals_gain_not_the_exponential_one() -> None:
    exponential = (1 + 3 / math.log2(3) + 7 / 2) / (7 + 3 / math.log2(3) + 0.5)
    assert ndcg(["c", "b", "a"], GRADED, 10) == pytest.approx(0.7899980042460358)
    assert ndcg(["c", "b", "a"], GRADED, 10) != pytest.approx(exponential)


@pytest.mark.parametrize(
    ("ranking", "k", "expected"),
    [
        (["a", "b", "c"], 3, 1.0),
        (["a", "x", "b"], 2, 1 / 3),
        (["x", "y"], 10, 0.0),
        ([], 10, 0.0),
    ],
)
def test_recall(ranking: list[str], k: int, expected: float) -> None:
    assert recall(ranking, GRADED, k) == pytest.approx(expected)


def test_recall_of_nothing_relevant_is_0() -> None:
    assert recall(["a"], {}, 10) == 0.0


@pytest.mark.parametrize(
    ("ranking", "k", "expected"),
    [(["a"], 10, 1.0), (["x", "y", "b", "a"], 10, 1 / 3), (["x", "a"], 1, 0.0), ([], 10, 0.0)],
)
def test_reciprocal_rank(ranking: list[str], k: int, expected: float) -> None:
    assert reciprocal_rank(ranking, GRADED, k) == pytest.approx(expected)


def test_first_relevant_looks_at_the_whole_ranking() -> None:
    assert first_relevant([*"xyzuvwrstqpo", "a"], ONE) == 13
    assert first_relevant(["x"], ONE) is None


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7.0], 0.5, 7.0),
        ([7.0], 0.95, 7.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.95, 95.0),
        ([float(n) for n in range(1, 21)], 0.95, 19.0),
    ],
)
def test_percentile_is_a_value_that_occurred(
    values: list[float], share: float, expected: float
) -> None:
    assert percentile(values, share) == expected
