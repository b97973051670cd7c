"""A small engine for discrete events: a clock, and processes that wait on it.

A process is a generator that yields steps. A step is a function that is given what goes on behind
it, and calls that once, now or at a later time of the clock.
"""

from collections.abc import Callable, Generator
from heapq import heappop, heappush
from typing import TypeAlias

Resume: TypeAlias = Callable[[], None]
Step: TypeAlias = Callable[[Resume], None]
Process: TypeAlias = Generator[Step, None, None]


class Clock:
    """Simulated seconds. What is due at the same time happens in the order it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Resume]] = []
        self._number = 0

    def after(self, seconds: float, call: Resume) -> None:
        """Call it so many seconds from now."""
        self._number += 1
        heappush(self._due, (self.now + seconds, self._number, call))

    def sleep(self, seconds: float) -> Step:
        """Wait without occupying anything."""
        return lambda resume: self.after(seconds, resume)

    def run(self, until: float) -> None:
        """Let everything happen that is due by then."""
        while self._due and self._due[0][0] <= until:
            self.now, _, call = heappop(self._due)
            call()
        self.now = until


def start(process: Process, then: Resume = lambda: None) -> None:
    """Let a process go on to its end, and then whatever waits for that."""

    def resume() -> None:
        step = next(process, None)
        if step is None:
            then()
        else:
            step(resume)

    resume()


def together(*steps: Step) -> Step:
    """All of them side by side; goes on behind the last one."""

    def begin(resume: Resume) -> None:
        left = len(steps)

        def one_is_over() -> None:
            nonlocal left
            left -= 1
            if not left:
                resume()

        for step in steps:
            step(one_is_over)

    return begin
