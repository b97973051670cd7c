"""The monitor on a clock of the test's: what is timed, counted, and for how long it is recent."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import orjson
import pytest

from app.errors import Unavailable
from app.performance.monitor import RECENT_SECONDS, STEP_SECONDS, PerformanceMonitor
from app.performance.report import report
from app.performance.snapshot import Snapshot, merge, pack, unpack


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(clock: Clock) -> PerformanceMonitor:
    return PerformanceMonitor(clock)


def stages(monitor: PerformanceMonitor, period: str = "since_start") -> dict[str, Any]:
    found: dict[str, Any] = monitor.report()[period]["stages"]
    return found


def test_a_report(monitor: PerformanceMonitor, clock: Clock) -> None:
    for milliseconds in range(1, 101):
        with monitor.track("load"):
            clock.pass_(milliseconds / 1000)
    clock.pass_(10 - 5.05)
    monitor.record("tokens", 30, "tokens")
    monitor.record("tokens", 10, "tokens")
    found = monitor.report()
    assert orjson.loads(orjson.dumps(found)) == found
    assert found["since_start"] == found["last_5_minutes"]
    load = found["since_start"]["stages"]["load"]
    assert (load["count"], load["errors"], load["errors_by_code"]) == (100, 0, {})
    assert load["rate_per_second"] == pytest.approx(10)
    assert load["mean_ms"] == pytest.approx(50.5)
    expected = {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99}
    assert {key: load[key] for key in expected} == pytest.approx(expected, rel=0.01)
    assert load["max_ms"] == pytest.approx(100)
    tokens = found["since_start"]["metrics"]["tokens"]
    assert (tokens["unit"], tokens["count"], tokens["sum"]) == ("tokens", 2, 40)
    assert (tokens["mean"], tokens["max"]) == (20, 30)
    assert tokens["p50"] == pytest.approx(10, rel=0.01)


def test_errors_are_counted_by_stage_and_code(monitor: PerformanceMonitor) -> None:
    for error in (Unavailable(), Unavailable(), KeyError("a caller's word")):
        with suppress(type(error)), monitor.track("load"):
            raise error
    monitor.error("total", "provider_timeout")
    found = stages(monitor)
    assert found["load"]["count"] == found["load"]["errors"] == 3
    assert found["load"]["errors_by_code"] == {Unavailable.code: 2, "KeyError": 1}
    assert found["total"]["errors_by_code"] == {"provider_timeout": 1}
    assert (found["total"]["count"], found["total"]["p99_ms"]) == (0, None)


def test_functions_of_every_kind(monitor: PerformanceMonitor, clock: Clock) -> None:
    @monitor.track_performance("plain")
    def plain(number: int) -> int:
        """Says something."""
        clock.pass_(0.1)
        return number + 1

    @monitor.track_performance("generator")
    def generator() -> Iterator[int]:
        yield 1
        clock.pass_(0.3)

    assert (plain(1), plain.__name__, plain.__doc__) == (2, "plain", "Says something.")
    assert list(generator()) == [1]
    found = stages(monitor)
    assert found["plain"]["max_ms"] == pytest.approx(100)
    assert found["generator"]["max_ms"] == pytest.approx(300)


async def test_async_functions_and_generators(monitor: PerformanceMonitor, clock: Clock) -> None:
    closed = []

    @monitor.track_performance("awaited")
    async def awaited() -> str:
        clock.pass_(0.2)
        raise Unavailable

    @monitor.track_performance("items")
    async def items() -> AsyncIterator[int]:
        try:
            for number in range(3):
                clock.pass_(0.1)
                yield number
        finally:
            closed.append(True)

    with pytest.raises(Unavailable):
        await awaited()
    assert [item async for item in items()] == [0, 1, 2]
    async with aclosing(items()) as some:  # type: ignore[type-var]
        await anext(some)
    assert len(closed) == 2
    found = stages(monitor)
    assert found["awaited"]["errors"] == 1
    assert found["awaited"]["max_ms"] == pytest.approx(200)
    assert (found["items"]["count"], found["items"]["errors"]) == (2, 0)
    assert found["items"]["max_ms"] == pytest.approx(300)


async def test_tasks_at_the_same_time_do_not_mix(monitor: PerformanceMonitor, clock: Clock) -> None:
    """Each has its own beginning, also of the same stage; a cancelled one took its time too."""
    gates = [asyncio.Event() for _ in range(20)]

    async def one(number: int) -> None:
        with monitor.track("outer"), monitor.track(f"stage {number % 2}"):
            await gates[number].wait()

    tasks = [asyncio.create_task(one(number)) for number in range(20)]
    await asyncio.sleep(0)
    for number, task in enumerate(tasks):
        clock.pass_(1)
        if number == 7:
            task.cancel()
        gates[number].set()
        await asyncio.wait({task})
    found = stages(monitor)
    assert (found["outer"]["count"], found["outer"]["errors"]) == (20, 0)
    assert found["outer"]["mean_ms"] == pytest.approx(10_500)
    assert found["stage 0"]["mean_ms"] == pytest.approx(10_000)
    assert found["stage 1"]["mean_ms"] == pytest.approx(11_000)


def test_a_request_that_is_over(monitor: PerformanceMonitor) -> None:
    monitor.observe({"load": 2.5, "vector": 40.0, "total": 900.0})
    monitor.observe({"load": 7.5, "total": 100.0})
    found = stages(monitor)
    assert {name: each["count"] for name, each in found.items()} == {
        "load": 2,
        "vector": 1,
        "total": 2,
    }
    assert found["load"]["mean_ms"] == pytest.approx(5)


def test_gaps_of_streams_side_by_side(monitor: PerformanceMonitor, clock: Clock) -> None:
    one, other = monitor.gaps("between_tokens"), monitor.gaps("between_tokens")
    for _ in range(3):
        one(1)
        clock.pass_(1)
        other(1)
        clock.pass_(1)
    found = stages(monitor)["between_tokens"]
    assert (found["count"], found["mean_ms"]) == (4, pytest.approx(2000))


def test_between_tokens_that_come_together_no_time_passes(
    monitor: PerformanceMonitor, clock: Clock
) -> None:
    passed = monitor.gaps("between_tokens")
    for together in (3, 1, 4):  # 2 + 1 + 4 gaps, two of which are of 3.5 seconds
        passed(together)
        clock.pass_(3.5)
    found = stages(monitor)["between_tokens"]
    assert (found["count"], found["mean_ms"]) == (7, pytest.approx(1000))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_what_is_no_amount_is_refused(monitor: PerformanceMonitor, value: float) -> None:
    with pytest.raises(ValueError, match="size"):
        monitor.record("size", value, "bytes")
    assert monitor.report()["since_start"]["metrics"] == {}


def test_what_is_recent_moves_on(monitor: PerformanceMonitor, clock: Clock) -> None:
    record = monitor.recorder("load")
    for second in range(1200):
        record(0.5 if second < 600 else 0.001)
        clock.pass_(1)
        if second % 5 == 0:
            monitor.snapshot()
    assert stages(monitor)["load"]["count"] == 1200
    assert stages(monitor)["load"]["max_ms"] == 500
    recent = monitor.report()["last_5_minutes"]
    load = recent["stages"]["load"]
    assert RECENT_SECONDS <= recent["seconds"] <= RECENT_SECONDS + 2 * STEP_SECONDS
    assert load["rate_per_second"] == pytest.approx(1)
    assert (load["count"], load["max_ms"]) == (round(recent["seconds"]), 1)
    clock.pass_(RECENT_SECONDS + STEP_SECONDS)
    monitor.snapshot()
    clock.pass_(RECENT_SECONDS)
    assert stages(monitor, "last_5_minutes")["load"]["count"] == 0
    assert stages(monitor)["load"]["count"] == 1200


def test_errors_are_recent_for_as_long(monitor: PerformanceMonitor, clock: Clock) -> None:
    monitor.error("load", "unavailable")
    for _ in range(2):
        clock.pass_(STEP_SECONDS)
        assert stages(monitor, "last_5_minutes")["load"]["errors"] == 1
    clock.pass_(RECENT_SECONDS)
    assert "load" not in stages(monitor, "last_5_minutes")
    assert stages(monitor)["load"]["errors"] == 1


def test_processes_add_up(clock: Clock) -> None:
    first = PerformanceMonitor(clock)
    clock.pass_(60)
    second = PerformanceMonitor(clock)
    clock.pass_(40)
    for monitor, milliseconds in ((first, 10), (second, 30), (second, 50)):
        monitor.observe({"load": milliseconds})
        monitor.error("load", "unavailable")
    second.record("tokens", 7, "tokens")
    packed = [pack(each.snapshot()) for each in (first, second)]
    assert [unpack(each) for each in packed] == [first.snapshot(), second.snapshot()]
    found = report(merge(unpack(each) or first.snapshot() for each in packed))["since_start"]
    load = found["stages"]["load"]
    assert (load["count"], load["errors_by_code"]) == (3, {"unavailable": 3})
    assert (load["mean_ms"], load["rate_per_second"]) == (pytest.approx(30), 0.03)
    assert load["p50_ms"] == pytest.approx(30, rel=0.01)
    assert (found["seconds"], found["metrics"]["tokens"]["sum"]) == (100, 7)


@pytest.mark.parametrize("packed", [b"", b"{}", b"[2,[0,[],[]],[0,[],[]]]", b"[1,2,3]", b"[1]"])
def test_what_cannot_be_read_is_no_snapshot(packed: bytes) -> None:
    assert unpack(packed) is None


def test_nothing_measured(monitor: PerformanceMonitor) -> None:
    empty = {"seconds": 0.0, "stages": {}, "metrics": {}}
    assert monitor.report() == {"since_start": empty, "last_5_minutes": empty}
    assert isinstance(unpack(pack(monitor.snapshot())), Snapshot)
