"""Stages as Prometheus reads them: exact cumulative buckets, one process's series apart from
another's."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from app.api.stage_metrics import stage_families
from app.performance.monitor import PerformanceMonitor

Samples = dict[frozenset[tuple[str, str]], float]


class Exposed(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def scraped(**monitors: PerformanceMonitor) -> dict[str, Samples]:
    """The values of each metric by its labels, as read from the text."""
    registry = CollectorRegistry(auto_describe=False)
    snapshots = {process: each.snapshot() for process, each in monitors.items()}
    registry.register(Exposed(list(stage_families(snapshots))))
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def monitor_of(*timings_ms: dict[str, float]) -> PerformanceMonitor:
    monitor = PerformanceMonitor(lambda: 0.0)
    for each in timings_ms:
        monitor.observe(each)
    return monitor


def test_buckets_are_cumulative_and_an_edge_is_within() -> None:
    found = scraped(one=monitor_of({"load": 0}, {"load": 1}, {"load": 1.1}, {"load": 10**6}))
    buckets = {
        dict(key)["le"]: value for key, value in found["citestream_stage_seconds_bucket"].items()
    }
    lowest = ["0.0001", "0.0001585", "0.0002512", "0.0003981", "0.000631", "0.001"]
    assert list(buckets)[:6] == lowest
    assert list(buckets)[-2:] == ["100.0", "+Inf"]
    assert [buckets[le] for le in ("0.000631", "0.001", "0.001585", "100.0", "+Inf")] == [
        1, 2, 3, 3, 4,
    ]  # fmt: skip
    process = labels(stage="load", process="one")
    assert found["citestream_stage_seconds_count"] == {process: 4}
    assert round(found["citestream_stage_seconds_sum"][process], 4) == 1000.0021


def test_first_and_further_tokens_have_finer_buckets_of_their_own() -> None:
    found = scraped(one=monitor_of({"first_token": 80, "between_tokens": 12}))
    first = found["citestream_first_token_seconds_bucket"]
    assert first[labels(le="0.07943", process="one")] == 0
    assert first[labels(le="0.1", process="one")] == 1
    assert found["citestream_between_tokens_seconds_count"] == {labels(process="one"): 1}
    assert "citestream_stage_seconds_count" not in found


def test_processes_stay_apart() -> None:
    one, other = monitor_of({"load": 5}, {"load": 5}), monitor_of({"load": 5})
    other.error("load", "unavailable")
    other.record("tokens", 30, "tokens")
    found = scraped(one=one, other=other)
    assert found["citestream_stage_seconds_count"] == {
        labels(stage="load", process="one"): 2,
        labels(stage="load", process="other"): 1,
    }
    errors = labels(stage="load", code="unavailable", process="other")
    assert found["citestream_stage_errors_total"] == {errors: 1}
    tokens = labels(name="tokens", unit="tokens", process="other")
    assert found["citestream_measured_sum"] == {tokens: 30}
    assert found["citestream_measured_count"] == {tokens: 1}
