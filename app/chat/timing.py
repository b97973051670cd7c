"""Stage timings of one answer, in milliseconds, on a clock that is passed in."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager


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

    @contextmanager
    def stage(self, name: str) -> Generator[None, None, None]:
        """Record how long the block took, also when it raises."""
        began = self._clock()
        try:
            yield
        finally:
            self.timings_ms[name] = round((self._clock() - began) * 1000, 3)
