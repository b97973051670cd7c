"""Counts of values in buckets of a fixed relative width: small, quick to add to, and mergeable.

Bucket i holds the values of (γ^(i-1), γ^i] × LOWEST, with γ = 10^(1/120), and is read as
2γ^i / (γ + 1) × LOWEST, which is at most (γ - 1) / (γ + 1) = 0.96 % from each of them. This is the
logarithmic mapping of DDSketch (Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile
Sketch with Relative-Error Guarantees", VLDB 2019, section 2), whose sketches merge by adding their
counts, without a further error. With 120 buckets a decade, powers of ten and their fifths and
tenths are edges, so that the cumulative buckets of Prometheus are exact.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from math import ceil, log10

PER_DECADE = 120
LOWEST = 1e-6  # a microsecond; what is not above it is counted as 0
DECADES = 15
LAST = PER_DECADE * DECADES
_OFFSET = PER_DECADE * 6  # LOWEST is 10**-6
_EMPTY = bytes(8 * (LAST + 1))
_NEVER = -1.0  # the maximum of no values


@dataclass(frozen=True, slots=True)
class Distribution:
    """What was counted: the buckets that hold something, in order, how many values each of them
    holds, and their sum and the largest of all."""

    indices: Sequence[int] = ()
    counts: Sequence[int] = ()
    total: float = 0.0
    maximum: float = _NEVER

    @property
    def count(self) -> int:
        return sum(self.counts)

    def percentiles(self, *shares: float) -> list[float]:
        """For each share, the smallest value that so many of all are not above (the nearest
        rank), within 1 %. There has to be a value."""
        up_to = list(accumulate(self.counts))
        ranks = [max(1, ceil(share * up_to[-1])) for share in shares]
        found = [self.indices[bisect_left(up_to, rank)] for rank in ranks]
        return [min(value_of(index), self.maximum) for index in found]

    def at_most(self, edges: Iterable[int]) -> list[int]:
        """How many values are in the buckets up to each of these."""
        up_to = [0, *accumulate(self.counts)]
        return [up_to[bisect_right(self.indices, each)] for each in edges]


class Histogram:
    """A distribution that grows. For one thread: another one's values could be lost."""

    __slots__ = ("_counts", "_maximum", "_total")

    def __init__(self) -> None:
        self._counts = array("Q", _EMPTY)
        self._total = 0.0
        self._maximum = _NEVER

    def record(self, value: float, times: int = 1) -> None:
        """Count a finite value that is not negative, so many times."""
        index = ceil(log10(value) * PER_DECADE) + _OFFSET if value > LOWEST else 0
        self._counts[index if index < LAST else LAST] += times
        self._total += value * times
        if value > self._maximum:
            self._maximum = value

    def read(self) -> Distribution:
        """What has been counted since the last `take`."""
        if self._maximum == _NEVER:
            return Distribution()
        return _distribution(self._counts, self._total, self._maximum)

    def take(self) -> Distribution:
        """The same, and begin anew."""
        taken = self.read()
        if taken.counts:
            self._counts[:] = array("Q", _EMPTY)  # whoever holds `record` goes on with it
            self._total, self._maximum = 0.0, _NEVER
        return taken


def merged(parts: Sequence[Distribution]) -> Distribution:
    """The distribution of all their values together."""
    if len(parts) == 1:
        return parts[0]
    counts = [0] * (LAST + 1)
    for part in parts:
        for index, count in zip(part.indices, part.counts, strict=True):
            counts[index] += count
    total = sum(part.total for part in parts)
    return _distribution(counts, total, max(part.maximum for part in parts))


def _distribution(counts: Sequence[int], total: float, maximum: float) -> Distribution:
    filled = tuple(compress(range(LAST + 1), counts))
    return Distribution(filled, tuple(filter(None, counts)), total, maximum)


def edge(index: int) -> float:
    """The largest value of a bucket."""
    return float(10 ** ((index - _OFFSET) / PER_DECADE))


def index_of_power(exponent: int) -> int:
    """The bucket whose largest value is this power of ten."""
    return _OFFSET + PER_DECADE * exponent


def value_of(index: int) -> float:
    """What a bucket's values are read as."""
    return edge(index) * _MIDDLE if index else 0.0


_MIDDLE = 2 / (10 ** (1 / PER_DECADE) + 1)
