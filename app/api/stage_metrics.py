"""Stages for Prometheus: cumulative buckets of the histograms that percentiles come from."""

from collections.abc import Sequence

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from app.performance.histogram import PER_DECADE, Distribution, edge, index_of_power
from app.performance.snapshot import SECONDS, Period
from app.performance.stages import BETWEEN_TOKENS, FIRST_TOKEN

# From 0.1 ms to 100 s. Both are edges of the histograms' own buckets: nothing is interpolated.
LEAST, MOST = index_of_power(-4), index_of_power(2)
TENTHS = range(LEAST, MOST + 1, PER_DECADE // 10)  # 1, 1.26, 1.58, 2, 2.51 … 10
FIFTHS = range(LEAST, MOST + 1, PER_DECADE // 5)  # 1, 1.58, 2.51, 3.98, 6.31, 10
OF_THEIR_OWN = {
    FIRST_TOKEN: ("citestream_first_token_seconds", "From a question to its answer's first token."),
    BETWEEN_TOKENS: ("citestream_between_tokens_seconds", "From a token to the next one."),
}


def stage_families(period: Period) -> Sequence[Metric]:
    """What was measured since the start."""
    own = [_of_one_stage(stage, name, text, period) for stage, (name, text) in OF_THEIR_OWN.items()]
    return [*own, _stages(period), _errors(period), _others(period)]


def _of_one_stage(stage: str, name: str, text: str, period: Period) -> Metric:
    family = HistogramMetricFamily(name, text, labels=[])
    # Also where there is none: a dashboard starts at 0 and not at nothing.
    _add(family, [], period.series.get((stage, SECONDS), Distribution()), TENTHS)
    return family


def _stages(period: Period) -> Metric:
    family = HistogramMetricFamily(
        "citestream_stage_seconds", "Time of a request's stages.", labels=["stage"]
    )
    for (name, unit), distribution in sorted(period.series.items()):
        if unit == SECONDS and name not in OF_THEIR_OWN:
            _add(family, [name], distribution, FIFTHS)
    return family


def _errors(period: Period) -> Metric:
    family = CounterMetricFamily(
        "citestream_stage_errors", "Errors by stage.", labels=["stage", "code"]
    )
    for (stage, code), count in sorted(period.errors.items()):
        family.add_metric([stage, code], count)
    return family


def _others(period: Period) -> Metric:
    family = SummaryMetricFamily("citestream_measured", "Other metrics.", labels=["name", "unit"])
    for (name, unit), each in sorted(period.series.items()):
        if unit != SECONDS:
            family.add_metric([name, unit], each.count, each.total)
    return family


def _add(
    family: HistogramMetricFamily,
    labels: Sequence[str],
    distribution: Distribution,
    edges: Sequence[int],
) -> None:
    counts = distribution.at_most(edges)
    buckets: list[tuple[str, float]] = [
        (_le(index), count) for index, count in zip(edges, counts, strict=True)
    ]
    buckets.append(("+Inf", distribution.count))
    family.add_metric(labels, buckets, sum_value=distribution.total)


def _le(index: int) -> str:
    """Four digits: a fiftieth of a bucket's width from where it is."""
    return str(float(f"{edge(index):.4g}"))
