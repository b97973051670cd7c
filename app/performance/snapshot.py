"""What a process has measured, as a value: to be sent, merged with others' and read. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.performance.histogram import Distribution, merged

# Raised when the meaning of what is sent changes: processes of another version are left out.
FORMAT = 1
SECONDS = "s"

Series = tuple[str, str]
"""A name and a unit; a stage is in seconds."""


@dataclass(frozen=True, slots=True)
class Period:
    """What was measured in so many seconds. `errors` are counted by stage and code."""

    seconds: float = 0.0
    series: Mapping[Series, Distribution] = field(default_factory=dict)
    errors: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Since the start, and in the last five minutes."""

    since_start: Period
    recent: Period


def together(periods: Sequence[Period], seconds: float) -> Period:
    """All that was measured in any of them, which took so long."""
    series: dict[Series, list[Distribution]] = {}
    errors: dict[tuple[str, str], int] = {}
    for period in periods:
        for name, distribution in period.series.items():
            series.setdefault(name, []).append(distribution)
        for place, count in period.errors.items():
            errors[place] = errors.get(place, 0) + count
    return Period(seconds, {name: merged(parts) for name, parts in series.items()}, errors)


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Of processes side by side, one at least: the longest life counts as the life of all."""
    each = list(snapshots)
    return Snapshot(
        _beside([snapshot.since_start for snapshot in each]),
        _beside([snapshot.recent for snapshot in each]),
    )


def _beside(periods: Sequence[Period]) -> Period:
    return together(periods, max(period.seconds for period in periods))


def pack(snapshot: Snapshot) -> bytes:
    """For `unpack`, in any process of this version."""
    fields = [FORMAT, period_fields(snapshot.since_start), period_fields(snapshot.recent)]
    return orjson.dumps(fields)


def unpack(packed: bytes) -> Snapshot | None:
    """The snapshot; None for what another version has packed, or nobody."""
    try:
        version, since_start, recent = orjson.loads(packed)
        return Snapshot(period_of(since_start), period_of(recent)) if version == FORMAT else None
    except (ValueError, TypeError):
        return None


def period_fields(period: Period) -> list[Any]:
    """What JSON can hold of it, for `period_of`."""
    series = [
        (name, unit, each.indices, each.counts, each.total, each.maximum)
        for (name, unit), each in period.series.items()
    ]
    errors = [(stage, code, count) for (stage, code), count in period.errors.items()]
    return [period.seconds, series, errors]


def period_of(fields: Any) -> Period:
    """What its fields were made of."""
    seconds, series, errors = fields
    return Period(
        seconds,
        {
            (name, unit): Distribution(tuple(indices), tuple(counts), total, maximum)
            for name, unit, indices, counts, total, maximum in series
        },
        {(stage, code): count for stage, code, count in errors},
    )
