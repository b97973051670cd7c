"""Stages as Prometheus reads them: exact cumulative buckets."""

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


def scraped(monitor: PerformanceMonitor) -> dict[str, Samples]:
    """The values of each metric by its labels, as read from the text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Exposed(list(stage_families(monitor.snapshot().since_start))))
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
    found = scraped(monitor_of({"load": 0}, {"load": 1}, {"load": 1.1}, {"load": 10**6}))
    buckets = {
        dict(key)["le"]: value for key, value in found["citestream_stage_seconds_bucket"].items()
    }
    lowest = ["0.0001", "0.0001585", "0.0002512", "0.0003981", "0.000631", "0.001"]
    assert list(buckets)[:6] == lowest
    assert list(buckets)[-2:] == ["100.0", "+Inf"]
    assert [buckets[le] for le in ("0.000631", "0.001", "0.001585", "100.0", "+Inf")] == [
        1, 2, 3, 3, 4,
    ]  # fmt: skip
    stage = labels(stage="load")
    assert found["citestream_stage_seconds_count"] == {stage: 4}
    assert round(found["citestream_stage_seconds_sum"][stage], 4) == 1000.0021


def test_first_and_further_tokens_have_finer_buckets_of_their_own() -> None:
    found = scraped(monitor_of({"first_token": 80, "between_tokens": 12}))
    first = found["citestream_first_token_seconds_bucket"]
    assert first[labels(le="0.07943")] == 0
    assert first[labels(le="0.1")] == 1
    assert found["citestream_between_tokens_seconds_count"] == {labels(): 1}
    assert "citestream_stage_seconds_count" not in found


def test_errors_and_metrics_of_other_units() -> None:
    monitor = monitor_of({"load": 5}, {"load": 5})
    monitor.error("load", "unavailable")
    monitor.record("pages", 30, "pages")
    found = scraped(monitor)
    assert found["citestream_stage_errors_total"] == {labels(stage="load", code="unavailable"): 1}
    pages = labels(name="pages", unit="pages")
    assert found["citestream_measured_sum"] == {pages: 30}
    assert found["citestream_measured_count"] == {pages: 1}


def test_what_tokens_take_is_there_from_the_beginning() -> None:
    found = scraped(monitor_of())
    for name in ("first_token", "between_tokens"):
        assert found[f"citestream_{name}_seconds_count"] == {labels(): 0}
