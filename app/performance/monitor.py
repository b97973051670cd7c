"""What one process measures: how long stages take, other metrics, and errors, on a given clock.

An event loop's thread writes; nothing here locks or waits. Names are the program's own, never
something that a caller wrote, so their number has a bound.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from types import TracebackType
from typing import Any

from app.errors import AppError
from app.performance.calls import Function, surrounded
from app.performance.histogram import Histogram
from app.performance.report import report
from app.performance.snapshot import SECONDS, Period, Series, Snapshot, together
from app.performance.tokens import Prices, TokenCounts

RECENT_SECONDS = 300.0
# Steps in which what is recent moves on: it is up to so much longer than it should be.
STEP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Step:
    ended: float
    period: Period


class PerformanceMonitor:
    """Of one process. `clock` gives seconds and never goes back; `prices` are those of models."""

    def __init__(self, clock: Callable[[], float], prices: Prices | None = None) -> None:
        self.tokens = TokenCounts(prices or {})
        self._clock = clock
        self._began = self._step_began = clock()
        self._live: dict[Series, Histogram] = {}
        self._stages: dict[str, Histogram] = {}  # those of `_live` that are in seconds
        self._errors: Counter[tuple[str, str]] = Counter()
        self._steps: deque[_Step] = deque()
        self._before = Period()  # everything up to the present step

    def track(self, stage: str) -> "Tracked":
        """A `with` block's time, however it ends. An Exception counts as an error of the stage;
        being cancelled or closed does not."""
        return Tracked(self, stage, self.recorder(stage), self._clock)

    def track_performance(self, stage: str) -> Callable[[Function], Function]:
        """Decorate a function, also an async one: `track` for each call. A generator's time is
        from its first item to its end, with what its reader does in between."""
        return lambda function: surrounded(function, lambda: self.track(stage))

    def record(self, name: str, value: float, unit: str) -> None:
        """Note a value of a metric of yours; one in seconds (`s`) is a stage's. ValueError for
        one that is negative or not finite. Values are told apart above a millionth of the unit."""
        if not (isfinite(value) and value >= 0):
            raise ValueError(f"{name}: {value} is not a finite number from 0 up")
        self._series(name, unit).record(value)

    def observe(self, timings_ms: Mapping[str, float]) -> None:
        """Note a request that is over: how long each of its stages took."""
        for stage, milliseconds in timings_ms.items():
            self.recorder(stage)(milliseconds / 1000)

    def error(self, stage: str, code: str) -> None:
        """Count an error of a stage."""
        self._errors[stage, code] += 1

    def recorder(self, stage: str) -> Callable[[float], None]:
        """What notes seconds of this stage, for where a look-up each time is too much."""
        return self._of(stage).record

    def gaps(self, stage: str) -> Callable[[int], None]:
        """What notes the time since it was last called, for one stream of many: told of so many
        that came together, it notes no time between these."""
        record, clock = self._of(stage).record, self._clock
        last: float | None = None

        def passed(count: int) -> None:
            nonlocal last
            now = clock()
            if last is not None:
                record(now - last)
            if count > 1:
                record(0.0, count - 1)
            last = now

        return passed

    def _of(self, stage: str) -> Histogram:
        try:
            return self._stages[stage]
        except KeyError:
            return self._series(stage, SECONDS)

    def snapshot(self) -> Snapshot:
        """What has been measured. What is recent is as exact as this is called often: each call
        ends a step of STEP_SECONDS that is over."""
        now = self._clock()
        if now - self._step_began >= STEP_SECONDS:
            self._end_step(now)
        while self._steps and self._steps[0].ended <= now - RECENT_SECONDS:
            self._steps.popleft()
        series = {name: histogram.read() for name, histogram in self._live.items()}
        present = Period(now - self._step_began, series, dict(self._errors))
        recent = [*(step.period for step in self._steps), present]
        return Snapshot(
            together([self._before, present], now - self._began),
            together(recent, sum(period.seconds for period in recent)),
        )

    def report(self) -> dict[str, Any]:
        """This process's snapshot as plain dicts."""
        return report(self.snapshot())

    def _end_step(self, now: float) -> None:
        series = {name: histogram.take() for name, histogram in self._live.items()}
        taken = {name: each for name, each in series.items() if each.counts}
        period = Period(now - self._step_began, taken, dict(self._errors))
        self._errors.clear()
        self._step_began = now
        self._steps.append(_Step(now, period))
        self._before = together([self._before, period], now - self._began)

    def _series(self, name: str, unit: str) -> Histogram:
        histogram = self._live.get((name, unit))
        if histogram is None:
            histogram = self._live[name, unit] = Histogram()
            if unit == SECONDS:
                self._stages[name] = histogram
        return histogram


class Tracked:
    """One block that is timed."""

    __slots__ = ("_began", "_clock", "_monitor", "_record", "_stage")

    def __init__(
        self,
        monitor: PerformanceMonitor,
        stage: str,
        record: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._monitor = monitor
        self._stage = stage
        self._record = record
        self._clock = clock

    def __enter__(self) -> None:
        self._began = self._clock()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._record(self._clock() - self._began)
        if isinstance(error, Exception):
            self._monitor.error(self._stage, code_of(error))


def code_of(error: Exception) -> str:
    """What an error is counted as: our own code, or the name of what nobody translated."""
    return error.code if isinstance(error, AppError) else type(error).__name__
