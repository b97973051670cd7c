"""What this process has done, for Prometheus: requests, caches, query vectors, encoders, memory.

Labels are a route's template, a method of HTTP, a status, a fixed word: nothing of a tenant's and
nothing that a caller could write, so their number has a bound.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.api.services import CountedCache, EncoderNumbers

CONTENT_TYPE = CONTENT_TYPE_LATEST
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
ORIGINS = {
    "local_hits": "local_hit",
    "shared_hits": "shared_hit",
    "joined": "joined",
    "encoded": "encoded",
}
CACHES = ("answers", "passages", "semantic")
UNANSWERED = ("refused", "failed", "skipped")


class ApiMetrics:
    """Of one application. Counting costs a look-up in a dictionary; the rest is the scrape's."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._process = ProcessCollector(registry=None)

    def count(self, method: str, route: str, status: int) -> None:
        """Note a request that is over; `route` is the template."""
        self._requests[method if method in METHODS else "other", route, status] += 1

    def render(
        self, encoders: EncoderNumbers, cache: CountedCache, stages: Iterable[Metric]
    ) -> bytes:
        """Everything in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self._process)
        requests = _requests(self._requests)
        caches = _caches(cache.statistics())
        registry.register(_Families(requests, *_encoders(encoders), *caches, *stages))
        return generate_latest(registry)

    def resident_bytes(self) -> int | None:
        """The process's memory; None where the system does not tell (all but Linux)."""
        samples = (sample for family in self._process.collect() for sample in family.samples)
        sizes = [each.value for each in samples if each.name == "process_resident_memory_bytes"]
        return int(sizes[0]) if sizes else None


class _Families(Collector):
    """Metrics as they are at this moment."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _requests(counts: Counter[tuple[str, str, int]]) -> Metric:
    family = CounterMetricFamily(
        "citestream_http_requests", "HTTP requests.", labels=["method", "route", "status"]
    )
    for (method, route, status), count in sorted(counts.items()):
        family.add_metric([method, route, str(status)], count)
    return family


def _encoders(encoders: EncoderNumbers) -> Iterator[Metric]:
    vectors = CounterMetricFamily(
        "citestream_query_vectors",
        "Vectors of questions, by where they came from.",
        labels=["origin"],
    )
    for name, count in encoders.statistics().items():
        vectors.add_metric([ORIGINS[name]], count)
    available = GaugeMetricFamily(
        "citestream_encoder_available",
        "Whether texts can be encoded now, by the encoder or by what stands in for it.",
        labels=["encoder"],
    )
    for role, is_available in encoders.availability().items():
        available.add_metric([role], is_available)
    return iter((vectors, available))


def _caches(statistics: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    lookups = CounterMetricFamily(
        "citestream_cache_lookups", "Look-ups; those that are no hits are misses.", labels=["cache"]
    )
    hits = CounterMetricFamily(
        "citestream_cache_hits", "Entries found, and where.", labels=["cache", "place"]
    )
    puts = CounterMetricFamily("citestream_cache_puts", "Entries put in.", labels=["cache"])
    for name in CACHES:
        numbers = statistics[name]
        lookups.add_metric([name], numbers["lookups"])
        hits.add_metric([name, "local"], numbers["local_hits"])
        hits.add_metric([name, "shared"], numbers["shared_hits"])
        puts.add_metric([name], numbers["puts"])
    redis = statistics["redis"]
    unanswered = CounterMetricFamily(
        "citestream_redis_unanswered",
        "Commands that Redis refused, that failed, or that were skipped while it was away.",
        labels=["reason"],
    )
    for reason in UNANSWERED:
        unanswered.add_metric([reason], redis[reason])
    available = GaugeMetricFamily(
        "citestream_redis_available", "Whether Redis is used; 0 where none is configured, too."
    )
    available.add_metric([], redis["state"] == "ok")
    return iter((lookups, hits, puts, unanswered, available))
