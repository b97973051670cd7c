"""Stage timings of one answer, in milliseconds, on a clock that is passed in."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

NOTHING: AbstractContextManager[None] = nullcontext()


class Stopwatch:
    """Measures named stages. `clock` returns seconds and never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self.timings_ms: dict[str, float] = {}

    def elapsed_ms(self) -> float:
        return round((self._clock() - self._began) * 1000, 3)

    def mark(self, name: str) -> None:
        """Record the time from the beginning to now, once a name."""
        self.timings_ms.setdefault(name, self.elapsed_ms())

    def add(self, timings_ms: Mapping[str, float]) -> None:
        self.timings_ms.update(timings_ms)

    def running(self) -> AbstractContextManager[None]:
        """Entered around all that is done for the answer once it is prepared."""
        return NOTHING

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Record how long the block took, also when it raises."""
        return _Stage(self._clock, self.timings_ms, name)


class _Stage(AbstractContextManager[None]):
    """No generator, which takes three times as long, six times an answer."""

    __slots__ = ("_began", "_clock", "_name", "_timings_ms")

    def __init__(self, clock: Callable[[], float], timings_ms: dict[str, float], name: str) -> None:
        self._clock = clock
        self._timings_ms = timings_ms
        self._name = name

    def __enter__(self) -> None:
        self._began = self._clock()

    def __exit__(self, *_: object) -> None:
        self._timings_ms[self._name] = round((self._clock() - self._began) * 1000, 3)
