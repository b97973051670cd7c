"""Everything that a process counts, as a value: packed for other processes, and added up. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from app.performance.snapshot import Period, period_fields, period_of, together

# Raised when the meaning of what is packed changes: a worker may be replaced by a newer program's.
FORMAT = 1

Series = tuple[str, ...]
"""A metric's name and the values of its labels, in the order in which the metric has them."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """`counters` only grow, `gauges` are of this moment, `measured` is since the start."""

    counters: Mapping[Series, float] = field(default_factory=dict)
    gauges: Mapping[Series, float] = field(default_factory=dict)
    measured: Period = field(default_factory=Period)


def added(numbers: Iterable[Numbers]) -> Numbers:
    """Counters and measurements of all of them. Gauges are nobody's then."""
    counters: dict[Series, float] = {}
    periods = []
    for each in numbers:
        periods.append(each.measured)
        for series, value in each.counters.items():
            counters[series] = counters.get(series, 0) + value
    seconds = max((period.seconds for period in periods), default=0.0)
    return Numbers(counters, {}, together(periods, seconds))


def pack(numbers: Numbers) -> bytes:
    """For `unpack`, in a process of the same version."""
    counters = [(*series, value) for series, value in numbers.counters.items()]
    gauges = [(*series, value) for series, value in numbers.gauges.items()]
    return orjson.dumps([FORMAT, counters, gauges, period_fields(numbers.measured)])


def unpack(packed: bytes) -> Numbers:
    """What was packed; nothing of what another version has packed."""
    version, counters, gauges, period = orjson.loads(packed)
    if version != FORMAT:
        return Numbers()
    return Numbers(
        {tuple(series): value for *series, value in counters},
        {tuple(series): value for *series, value in gauges},
        period_of(period),
    )
