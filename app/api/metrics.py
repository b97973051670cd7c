"""What a service has done, for Prometheus: of all its processes, whichever of them is asked.

Counters and histograms are added up, and never go back when a process ends and another one takes
its place. Gauges are each worker's own, in the label `worker`: its number among them, from 0.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.api.counted import counters, gauges
from app.api.families import PROCESS, backlog_families, counter_families, gauge_families
from app.api.services import Services
from app.api.stage_metrics import stage_families
from app.ingest.ports import Backlog
from app.performance.ledger import Ledger
from app.performance.numbers import Numbers, Series, added, pack, unpack

CONTENT_TYPE = CONTENT_TYPE_LATEST
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

# How often a process that nobody scrapes tells the others what it has counted: so much of it is
# missing where it is killed.
PUBLISH_SECONDS = 5.0
# One that has told nothing for so long hangs, or has ended: it has no gauges then.
FRESH_SECONDS = 15.0


class ApiMetrics:
    """Of one application. Counting costs a look-up in a dictionary; the rest is the scrape's.

    `ledger` is the memory that the processes of one service share; without one it is alone.
    """

    def __init__(
        self, ledger: Ledger | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` is one that all processes have in common."""
        self.open_streams = 0
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._process = ProcessCollector(registry=None)
        self._ledger = ledger
        self._clock = clock
        before = None if ledger is None else ledger.own()
        self._before = Numbers() if before is None else unpack(before)

    def count(self, method: str, route: str, status: int) -> None:
        """Note a request that is over; `route` is the template."""
        self._requests[method if method in METHODS else "other", route, status] += 1

    @asynccontextmanager
    async def published(self, services: Services) -> AsyncIterator[None]:
        """Let the other processes know what this one counts, to its last."""
        if self._ledger is None:
            yield
            return
        publishing = asyncio.create_task(self._keep_publishing(services), name="metrics")
        try:
            yield
        finally:
            publishing.cancel()
            with suppress(asyncio.CancelledError):
                await publishing
            self._publish(services)

    def render(self, services: Services, backlog: Backlog | None = None) -> bytes:
        """Everything in Prometheus' text format."""
        place = 0 if self._ledger is None else self._ledger.place
        numbers = {**self._others(), place: self._publish(services)}
        total = added(numbers.values())
        alive = {worker: each.gauges for worker, each in numbers.items() if each.gauges}
        registry = CollectorRegistry(auto_describe=False)
        registry.register(
            _Families(
                *counter_families(total.counters),
                *gauge_families(alive),
                *backlog_families(backlog),
                *stage_families(total.measured),
            )
        )
        return generate_latest(registry)

    def resident_bytes(self) -> int | None:
        """The process's memory; None where the system does not tell (all but Linux)."""
        size = self._of_process().get(("process_resident_memory_bytes",))
        return None if size is None else int(size)

    def stream(self, opened: int) -> None:
        """Note a stream that begins (1) or ends (-1)."""
        self.open_streams += opened

    async def _keep_publishing(self, services: Services) -> None:
        while True:
            self._publish(services)
            await asyncio.sleep(PUBLISH_SECONDS)

    def _publish(self, services: Services) -> Numbers:
        """What there is now, with what was counted in this place before; written to it."""
        counted = dict(counters(services))
        for (method, route, status), count in self._requests.items():
            counted["citestream_http_requests", method, route, str(status)] = count
        measured = services.monitor.snapshot().since_start
        total = added([self._before, Numbers(counted, {}, measured)])
        now = {**gauges(services), **self._of_process()}
        now["citestream_open_streams",] = self.open_streams
        numbers = Numbers(total.counters, now, total.measured)
        if self._ledger is not None:
            self._ledger.write(pack(numbers), self._clock())
        return numbers

    def _others(self) -> Mapping[int, Numbers]:
        """Those of all places; without gauges where nobody has written for long."""
        if self._ledger is None:
            return {}
        oldest = self._clock() - FRESH_SECONDS
        found = {}
        for place, (written, packed) in self._ledger.read().items():
            each = unpack(packed)
            found[place] = each if written >= oldest else Numbers(each.counters, {}, each.measured)
        return found

    def _of_process(self) -> Mapping[Series, float]:
        samples = (sample for family in self._process.collect() for sample in family.samples)
        return {(each.name,): each.value for each in samples if each.name in PROCESS}


class _Families(Collector):
    """Metrics as they are at this moment."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
