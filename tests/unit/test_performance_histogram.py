"""Distributions: how near a percentile is, and that merging is counting everything at once."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.performance.histogram import (
    LAST,
    PER_DECADE,
    Distribution,
    Histogram,
    edge,
    index_of_power,
    merged,
    value_of,
)

# Of the lowest bucket's edge itself, and its neighbours in the last digit, nothing is promised.
VALUES = st.floats(1.0001e-6, 1e9)
SHARES = (0.01, 0.5, 0.95, 0.99, 1.0)


def distribution(*values: float) -> Distribution:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram.read()


@given(st.lists(VALUES, min_size=1, max_size=200))
def test_a_percentile_is_within_a_hundredth_of_the_value_of_its_rank(values: list[float]) -> None:
    ranked = sorted(values)
    exact = [ranked[max(1, ceil(share * len(ranked))) - 1] for share in SHARES]
    counted = distribution(*values)
    for found, expected in zip(counted.percentiles(*SHARES), exact, strict=True):
        assert found == pytest.approx(expected, rel=0.01)
    assert (counted.count, counted.maximum) == (len(values), ranked[-1])
    assert counted.total == sum(values)


@given(st.lists(st.lists(VALUES, max_size=30), min_size=1, max_size=5))
def test_merging_is_counting_all_of_them(parts: list[list[float]]) -> None:
    union = distribution(*(value for part in parts for value in part))
    found = merged([distribution(*part) for part in parts])
    assert (found.indices, found.counts) == (union.indices, union.counts)
    assert found.maximum == union.maximum
    assert found.total == pytest.approx(union.total)


@given(st.integers(1, LAST))
def test_an_edge_belongs_to_the_bucket_below_it(index: int) -> None:
    inside = (edge(index - 1) * 1.0001, edge(index) * 0.9999)
    counted = distribution(*inside)
    assert (counted.indices, counted.counts) == ((index,), (2,))
    assert value_of(index) == pytest.approx(inside[0], rel=0.01)
    assert value_of(index) == pytest.approx(inside[1], rel=0.01)


@pytest.mark.parametrize("exponent", range(-5, 10))
def test_powers_of_ten_are_edges(exponent: int) -> None:
    index = index_of_power(exponent)
    value = float(f"1e{exponent}")
    assert distribution(value).indices == (index,)
    assert distribution(value).at_most([index - 1, index]) == [0, 1]
    assert edge(index) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "index", "read"),
    [(0.0, 0, 0.0), (1e-7, 0, 0.0), (1e-6, 0, 0.0), (1e9, LAST, 1e9), (1e12, LAST, 1e9)],
)
def test_the_ends_of_the_scale(value: float, index: int, read: float) -> None:
    counted = distribution(value)
    assert (counted.indices, counted.counts) == ((index,), (1,))
    assert counted.percentiles(0.5)[0] == pytest.approx(read, rel=0.01)
    assert counted.maximum == value


def test_cumulative_counts() -> None:
    counted = distribution(0.0, 0.001, 0.0011, 0.02, 5)
    edges = range(index_of_power(-4), index_of_power(1) + 1, PER_DECADE)
    assert counted.at_most(edges) == [1, 2, 3, 4, 4, 5]
    assert counted.at_most([LAST]) == [5]
    assert Distribution().at_most(edges) == [0] * 6


def test_what_was_taken_is_not_counted_again_and_a_writer_goes_on() -> None:
    histogram = Histogram()
    record = histogram.record
    record(1)
    assert histogram.read() == histogram.take() == distribution(1)
    assert histogram.take() == histogram.read() == Distribution()
    record(0)
    record(2)
    assert histogram.read() == distribution(0, 2)
