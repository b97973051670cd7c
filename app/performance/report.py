"""A snapshot as plain dicts, for people and programs."""

from typing import Any

from app.performance.histogram import Distribution
from app.performance.snapshot import SECONDS, Period, Snapshot

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def report(snapshot: Snapshot) -> dict[str, Any]:
    """Stages in milliseconds, other metrics in their own units; percentiles within 1 %."""
    return {
        "since_start": _period(snapshot.since_start),
        "last_5_minutes": _period(snapshot.recent),
    }


def _period(period: Period) -> dict[str, Any]:
    names = {name for name, unit in period.series if unit == SECONDS}
    names |= {stage for stage, _ in period.errors}
    return {
        "seconds": round(period.seconds, 3),
        "stages": {name: _stage(name, period) for name in sorted(names)},
        "metrics": {
            name: {
                "unit": unit,
                **_counted(each, period),
                "sum": each.total,
                **_values(each),
            }
            for (name, unit), each in sorted(period.series.items())
            if unit != SECONDS and each.counts
        },
    }


def _stage(name: str, period: Period) -> dict[str, Any]:
    distribution = period.series.get((name, SECONDS), Distribution())
    codes = {code: count for (stage, code), count in period.errors.items() if stage == name}
    return {
        **_counted(distribution, period),
        "errors": sum(codes.values()),
        "errors_by_code": codes,
        **{
            f"{key}_ms": None if value is None else round(value * 1000, 3)
            for key, value in _values(distribution).items()
        },
    }


def _counted(distribution: Distribution, period: Period) -> dict[str, Any]:
    count = distribution.count
    rate = count / period.seconds if period.seconds else 0.0
    return {"count": count, "rate_per_second": round(rate, 3)}


def _values(distribution: Distribution) -> dict[str, float | None]:
    """None where nothing was measured: errors alone have no times."""
    if not distribution.counts:
        return dict.fromkeys(("mean", *SHARES, "max"))
    found = distribution.percentiles(*SHARES.values())
    return {
        "mean": distribution.total / distribution.count,
        **dict(zip(SHARES, found, strict=True)),
        "max": distribution.maximum,
    }
