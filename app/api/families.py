"""Every metric of the service's own that `/metrics` has, but the stages' (`app.api.stage_metrics`).

Labels are a route's template, a method of HTTP, a status, a number of an agent, a fixed word:
nothing that a caller could write, so that their number has a bound.
"""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.ingest.ports import Backlog
from app.performance.numbers import Series

# Counters by name: what they count, and their labels. They are added up over a service's processes.
COUNTERS: Mapping[str, tuple[str, Sequence[str]]] = {
    "citestream_http_requests": ("HTTP requests.", ["method", "route", "status"]),
    "citestream_query_vectors": ("Vectors of questions, by where they came from.", ["origin"]),
    "citestream_cache_lookups": ("Look-ups; those that are no hits are misses.", ["cache"]),
    "citestream_cache_hits": ("Entries found, and where.", ["cache", "place"]),
    "citestream_cache_puts": ("Entries put in.", ["cache"]),
    "citestream_redis_unanswered": (
        "Commands that Redis refused, that failed, or that were skipped while it was away.",
        ["reason"],
    ),
    "citestream_limited": ("Requests that a limit refused.", ["reason"]),
    "citestream_tokens": (
        "Tokens that models were given and have said.",
        ["agent", "provider", "kind"],
    ),
    "citestream_cost": ("What these tokens cost, by the prices set.", ["agent", "provider"]),
    "citestream_pool_acquired": ("Connections lent by a pool.", ["pool"]),
    "citestream_pool_opened": ("Connections opened by a pool.", ["pool"]),
}
# Gauges by name: what they say, and their labels beside the worker's.
GAUGES: Mapping[str, tuple[str, Sequence[str]]] = {
    "citestream_active_runs": ("Answers that are being produced.", []),
    "citestream_open_streams": ("Streams that are open to readers.", []),
    "citestream_encoder_available": (
        "Whether texts can be encoded now, by the encoder or by what stands in for it.",
        ["encoder"],
    ),
    "citestream_redis_available": (
        "Whether Redis is used; 0 where none is configured, too.",
        [],
    ),
    "citestream_breaker_state": ("0 closed, 1 half open, 2 open.", ["dependency"]),
    "citestream_pool_size": ("Connections that there may be.", ["pool"]),
    "citestream_pool_open": ("Connections that there are.", ["pool"]),
    "citestream_pool_in_use": ("Connections that are lent.", ["pool"]),
    "citestream_pool_waiting": ("Callers that wait for a connection.", ["pool"]),
    "citestream_local_cache_bytes": ("Entries of the caches in the process's memory.", []),
    "citestream_local_cache_limit_bytes": ("How much they may take.", []),
}
# What every Prometheus client tells of its process; of this one's, each has its own.
PROCESS: Mapping[str, str] = {
    "process_virtual_memory_bytes": "Virtual memory size in bytes.",
    "process_resident_memory_bytes": "Resident memory size in bytes.",
    "process_start_time_seconds": "Start time of the process since unix epoch in seconds.",
    "process_cpu_seconds_total": "Total user and system CPU time spent in seconds.",
    "process_open_fds": "Number of open file descriptors.",
    "process_max_fds": "Maximum number of open file descriptors.",
}
WORKER = "worker"


def counter_families(counters: Mapping[Series, float]) -> Iterable[Metric]:
    """A family for each counter that there is, also where it has counted nothing yet."""
    for name, (text, labels) in COUNTERS.items():
        family = CounterMetricFamily(name, text, labels=labels)
        for series, value in sorted(counters.items()):
            if series[0] == name:
                family.add_metric(series[1:], value)
        yield family


def gauge_families(gauges: Mapping[int, Mapping[Series, float]]) -> Iterable[Metric]:
    """A family for each gauge, with the values of each worker."""
    for name, (text, labels) in GAUGES.items():
        yield _by_worker(GaugeMetricFamily(name, text, labels=[*labels, WORKER]), name, gauges)
    for name, text in PROCESS.items():
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        yield _by_worker(kind(name, text, labels=[WORKER]), name, gauges)
    workers = GaugeMetricFamily("citestream_workers", "Processes that serve this address.")
    workers.add_metric([], len(gauges))
    yield workers


def backlog_families(backlog: Backlog | None) -> Iterable[Metric]:
    """What waits in the database; nothing while that cannot be asked."""
    if backlog is None:
        return
    waiting = GaugeMetricFamily("citestream_documents_waiting", "Documents to be indexed.")
    waiting.add_metric([], backlog.waiting)
    yield waiting
    oldest = GaugeMetricFamily(
        "citestream_documents_oldest_seconds", "How long the first of them has waited."
    )
    oldest.add_metric([], backlog.oldest_seconds)
    yield oldest


def _by_worker(
    family: GaugeMetricFamily | CounterMetricFamily,
    name: str,
    gauges: Mapping[int, Mapping[Series, float]],
) -> Metric:
    for worker, values in sorted(gauges.items()):
        for series, value in sorted(values.items()):
            if series[0] == name:
                family.add_metric([*series[1:], str(worker)], value)
    return family
