"""What measuring costs: a stage, a request, a token, memory, and a report of several processes."""

import asyncio
import random
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from app.bench.figures import Figure
from app.performance.monitor import PerformanceMonitor
from app.performance.report import report
from app.performance.snapshot import merge, pack, unpack
from app.performance.stages import BETWEEN_TOKENS

STAGES = tuple(f"stage {number}" for number in range(15))
OPERATIONS = 10_000
PROCESSES = 8
CALLS = 5_000
# The shortest request that there is, a cached answer, and the work on a token: 1 % of either may go
# into measuring it.
SHORTEST_MS = 1.1
TOKEN_US = 22.0
SHARE = 0.01
MAX_MB = 10.0
MAX_REPORT_MS = 10.0


async def bench_monitor(rounds: int, say: Callable[[str], None]) -> list[Figure]:
    """Measure, in a thread of its own: nothing waits, so nothing else would run beside it."""
    figures = await asyncio.to_thread(_measure, rounds)
    say(f"{rounds} rounds of {CALLS:,} calls each")
    return figures


def _measure(rounds: int) -> list[Figure]:
    monitor = PerformanceMonitor(time.perf_counter)
    stages, of_request = len(STAGES), SHORTEST_MS * 1000 * SHARE
    timings_ms = dict.fromkeys(STAGES, 12.5)
    tracked = _seconds(rounds, partial(_tracked, monitor))
    observed = _seconds(rounds, partial(monitor.observe, timings_ms))
    gaps = _seconds(rounds, partial(monitor.gaps(BETWEEN_TOKENS), 1))
    return [
        Figure("with monitor.track(stage)", "ns", _times(1e9, tracked)),
        Figure(f"track of {stages} stages", "µs", _times(1e6 * stages, tracked), of_request),
        Figure(f"observe of {stages} stages", "µs", _times(1e6, observed), of_request),
        Figure("a gap between tokens", "ns", _times(1e9, gaps), TOKEN_US * 1000 * SHARE),
        Figure(f"memory of {OPERATIONS:,} operations", "MB", _megabytes(rounds), MAX_MB),
        *_reports(rounds),
    ]


def _reports(rounds: int) -> list[Figure]:
    used = [_used(seed) for seed in range(PROCESSES)]
    packed = [pack(monitor.snapshot()) for monitor in used]
    own = _seconds(rounds, used[0].report, calls=10)
    all_of_them = _seconds(rounds, partial(_report, packed), calls=10)
    return [
        Figure("a process's snapshot", "KB", [len(each) / 1000 for each in packed]),
        Figure("report of this process", "ms", _times(1000, own), MAX_REPORT_MS),
        Figure(f"report of {PROCESSES} processes", "ms", _times(1000, all_of_them), MAX_REPORT_MS),
    ]


def _report(packed: Sequence[bytes]) -> dict[str, Any]:
    snapshots = [snapshot for each in packed if (snapshot := unpack(each)) is not None]
    return report(merge(snapshots))


def _tracked(monitor: PerformanceMonitor) -> None:
    with monitor.track(STAGES[0]):
        pass


def _used(seed: int) -> PerformanceMonitor:
    """A monitor with its operations spread over all stages, from tenths of a millisecond up to
    seconds, and over the last five minutes."""
    chance, now = random.Random(seed), 0.0  # noqa: S311 — figures, not secrets
    monitor = PerformanceMonitor(lambda: now)
    for number in range(OPERATIONS):
        now = number * 0.03
        monitor.recorder(STAGES[number % len(STAGES)])(chance.lognormvariate(-4, 1.5))
        if number % 100 == 0:
            monitor.snapshot()
    return monitor


def _megabytes(rounds: int) -> list[float]:
    """What a monitor and its operations hold."""
    found = []
    for seed in range(rounds):
        tracemalloc.start()
        monitor = _used(seed)
        found.append(tracemalloc.get_traced_memory()[0] / 1e6)
        tracemalloc.stop()
        del monitor
    return found


def _seconds(rounds: int, call: Callable[[], object], calls: int = CALLS) -> list[float]:
    """Seconds a call, of each round; the one before them warms up. They are the thread's own, so
    that a busy machine does not count: nothing of this ever waits."""
    return [_once(call, calls) for _ in range(rounds + 1)][1:]


def _once(call: Callable[[], object], calls: int) -> float:
    began = time.thread_time()
    for _ in range(calls):
        call()
    return (time.thread_time() - began) / calls


def _times(factor: float, values: Sequence[float]) -> list[float]:
    return [factor * value for value in values]
