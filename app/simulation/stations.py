"""What work waits for: the cores of a machine, places of which each does one thing at a time, and
servers that take what waits in batches."""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

from app.simulation.engine import Clock, Resume, Step


class Cores:
    """Cores that all work on them shares evenly, as an operating system does (processor sharing).

    Work of `width` 2 runs on two cores where they are free. Time is kept as what work of width 1
    would have been done since the start: each piece ends at a number that is known when it comes,
    however many come and go meanwhile.
    """

    def __init__(self, clock: Clock, count: float) -> None:
        self.count = count
        self.done_seconds = 0.0  # of one core
        self._clock = clock
        self._width = 0.0
        self._virtual = self._since = 0.0
        self._ends: list[tuple[float, int, float, Resume]] = []
        self._number = self._wake = 0

    def work(self, seconds: float, then: Resume, width: float = 1.0) -> None:
        """Seconds that it takes where its cores are free."""
        self.advance()
        self._number += 1
        self._width += width
        heappush(self._ends, (self._virtual + seconds, self._number, width, then))
        self._wake_up()

    def advance(self) -> None:
        """Reckon with the time that has passed."""
        passed, self._since = self._clock.now - self._since, self._clock.now
        self._virtual += passed * self._speed()
        self.done_seconds += passed * min(self._width, self.count)

    def _speed(self) -> float:
        return min(1.0, self.count / self._width) if self._width else 1.0

    def _wake_up(self) -> None:
        """When the next piece will end, unless others come or go before."""
        if not self._ends:
            return
        self._wake += 1
        number = self._wake
        seconds = max(0.0, self._ends[0][0] - self._virtual) / self._speed()
        self._clock.after(seconds, lambda: self._end_one() if number == self._wake else None)

    def _end_one(self) -> None:
        self.advance()
        _, _, width, then = heappop(self._ends)
        self._width -= width if self._ends else self._width  # no rounding is left over
        self._wake_up()
        then()


class Counted:
    """How many came and went, how long they stayed, and how many there were."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.present = self.arrived = self.left = 0
        self.stayed_seconds = 0.0  # of those who left
        self._present_seconds = self._since = 0.0

    def come(self) -> float:
        """Somebody came; the time, for `leave`."""
        self._reckon()
        self.arrived += 1
        self.present += 1
        return self._clock.now

    def leave(self, came: float) -> None:
        self._reckon()
        self.left += 1
        self.present -= 1
        self.stayed_seconds += self._clock.now - came

    def present_seconds(self) -> float:
        """How many there were, times how long."""
        self._reckon()
        return self._present_seconds

    def _reckon(self) -> None:
        self._present_seconds += self.present * (self._clock.now - self._since)
        self._since = self._clock.now


class Station:
    """Places that take what waits in the order it came. `cores` are those of its machine; without
    any, each place has one of its own."""

    def __init__(self, clock: Clock, places: int, cores: Cores | None = None) -> None:
        self.places = places
        self.counted = Counted(clock)
        self.busy_seconds = 0.0  # of all places, in seconds of work
        self._run = clock.after if cores is None else cores.work
        self._free = places
        self._waiting: deque[tuple[float, float, Resume]] = deque()

    @property
    def load(self) -> int:
        """How many wait or are served, which is what a balancer looks at."""
        return self.counted.present

    def work(self, seconds: float) -> Step:
        """Wait for a place, and have the work done."""

        def begin(resume: Resume) -> None:
            self._waiting.append((self.counted.come(), seconds, resume))
            self._next()

        return begin

    def _next(self) -> None:
        if not self._free or not self._waiting:
            return
        self._free -= 1
        came, seconds, resume = self._waiting.popleft()

        def end() -> None:
            self._free += 1
            self.busy_seconds += seconds
            self.counted.leave(came)
            self._next()
            resume()

        self._run(seconds, end)


class Slots:
    """So many who may be at it at once, in the order they came, for as long as each one likes."""

    def __init__(self, clock: Clock, places: int) -> None:
        self.counted = Counted(clock)
        self._free = places
        self._waiting: deque[Resume] = deque()

    def take(self) -> Step:
        """Wait for a place and keep it."""

        def begin(resume: Resume) -> None:
            if self._free:
                self._free -= 1
                self.counted.come()
                resume()
            else:
                self._waiting.append(resume)

        return begin

    def give_back(self, came: float) -> None:
        """To whoever has waited longest. `came` is when it was taken."""
        self.counted.leave(came)
        if self._waiting:
            self.counted.come()
            self._waiting.popleft()()
        else:
            self._free += 1


class Batches:
    """One server that takes all that waits, up to so many at once; `seconds` says how long a batch
    of a number takes, on `width` cores."""

    def __init__(
        self,
        clock: Clock,
        most: int,
        seconds: Callable[[int], float],
        cores: Cores | None = None,
        width: float = 1.0,
    ) -> None:
        self.counted = Counted(clock)
        self.busy_seconds = 0.0
        self.batches = 0
        self._most, self._seconds, self._width = most, seconds, width
        self._clock, self._cores = clock, cores
        self._running = False
        self._waiting: deque[tuple[float, Resume]] = deque()

    @property
    def load(self) -> int:
        return self.counted.present

    def join(self) -> Step:
        """Be part of the next batch that has room."""

        def begin(resume: Resume) -> None:
            self._waiting.append((self.counted.come(), resume))
            if not self._running:
                self._next()

        return begin

    def _next(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        self._running = bool(batch)
        if not batch:
            return
        seconds = self._seconds(len(batch))

        def end() -> None:
            self.batches += 1
            self.busy_seconds += seconds
            for came, _ in batch:
                self.counted.leave(came)
            self._next()
            for _, resume in batch:
                resume()

        if self._cores is None:
            self._clock.after(seconds, end)
        else:
            self._cores.work(seconds, end, self._width)
