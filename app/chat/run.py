"""A run: the server-owned production of one answer, as an append-only log of events.

Readers follow the log; none of them owns the producing task. When the last reader has left, the
run is cancelled after its grace.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from uuid import UUID

from app.chat.event_log import Encode, EventLog
from app.chat.events import Answer, Done, Event, Failed, Said
from app.chat.model import Scope
from app.errors import AppError, InvalidInput

# What is handed to a reader at a time: one that lags gets what it missed in few pieces, each small
# enough that the connection's own limits hold. A token's frame is 60 bytes and no frame more than
# 16 KB; what a connection does not take is in memory twice, for each of its readers.
FRAMES_AT_ONCE = 64
BYTES_AT_ONCE = 16 * 1024


class Run:
    """One answer in the making. Event ids count from 1; the log ends with one terminal event."""

    def __init__(
        self,
        run_id: UUID,
        scope: Scope,
        grace_seconds: float,
        encode: Encode,
        changed: Callable[["Run"], None] = lambda _: None,
    ) -> None:
        """`encode` makes an event's bytes from its number and itself, once for all readers;
        `changed` is told that there is something new, once until it asks to be told again."""
        self.id = run_id
        self.scope = scope
        self.error: AppError | None = None
        # What goes on for those who share it, where it was cancelled by whom it belongs to.
        self.heir: Run | None = None
        self._grace = grace_seconds
        self._changed = changed
        self._log = EventLog(encode)
        self._waiters: list[asyncio.Future[None]] = []
        self._ends: list[asyncio.Future[None]] = []
        self._readers = 0
        self._sharing = 0  # of them
        self._task: asyncio.Task[None] | None = None
        self._hand_over: Callable[[], None] | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._stoppable = True
        self._told = False  # that there is something new, to `changed`
        self.is_unseen = True  # nobody has had a frame of it
        self.finished = False
        # Whether the database has its end: where it can be asked what became of it since.
        self.is_stored = False

    async def follows(self, after: int) -> bool:
        """Whether an event follows the one of this number, now or later. Raises InvalidInput for
        a number that the run has not come to."""
        if after > len(self._log) and not self.finished:
            raise InvalidInput(f"This run has no event {after} yet.")
        return after < len(self._log) or not self.finished

    def started_by(
        self, task: asyncio.Task[None], hand_over: Callable[[], None] | None = None
    ) -> None:
        """Name the task that produces the events, the one that `cancel` stops; where others share
        them, that calls `hand_over` instead."""
        self._task, self._hand_over = task, hand_over

    def inherit(self, other: "Run") -> None:
        """Begin with everything that the other one has said, and go on when it has ended."""
        self._log.inherit(other._log)
        self.is_unseen = other.is_unseen
        other.heir = self

    def append(self, event: Event) -> None:
        """Add the next event and wake every reader."""
        if isinstance(event, Done | Failed):
            self.finished = True
            self._end_grace()  # its timer would keep a forgotten run in memory
            _wake(self._ends)
        self.extend((event,))

    def extend(self, said: Sequence[Said]) -> None:
        """Add the next events, none of which is the last of all, and wake every reader."""
        self._log.extend(said)
        if not self._told:
            self._told = True
            self._changed(self)
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            _wake(waiters)

    def tell_again(self) -> None:
        """Tell `changed` of the next event; until then it is told of one alone."""
        self._told = False

    async def follow(
        self, after: int = 0, *, sharing: bool = False
    ) -> AsyncGenerator[tuple[int, Event], None]:
        """Yield `(id, event)` from the one behind `after` to the terminal one. Who is `sharing`
        makes an answer of his own from them.

        Closing the generator is leaving.
        """
        self.enter(sharing=sharing)
        try:
            position = after
            while await self.grown(position):
                while position < len(self._log):
                    event = self._log[position]
                    position += 1
                    yield position, event
        finally:
            self.leave(sharing=sharing)

    def frames(self, after: int = 0) -> "Frames":
        """A reader of the same as bytes, present from now on until it is closed."""
        return Frames(self, after)

    def frames_behind(self, position: int) -> Sequence[bytes]:
        """The next few frames behind this many events; none where there are none yet."""
        log = self._seen()
        ready = log.frames(position, min(position + FRAMES_AT_ONCE, len(log)))
        left = BYTES_AT_ONCE
        for count, frame in enumerate(ready):
            left -= len(frame)
            if left < 0 and count:
                return ready[:count]
        return ready

    def frames_from(self, position: int) -> Sequence[bytes]:
        """All frames behind this many events."""
        log = self._seen()
        return log.frames(position, len(log))

    def passed_on(self, number: int) -> None:
        """Others have the frames up to this event, and readers here are hardly behind them."""
        self._log.forget_frames(number)

    def _seen(self) -> EventLog:
        """For who wants frames. For an answer that is asked for whole, nobody does."""
        if self.is_unseen:
            self.is_unseen = False
            if self.finished:
                # It was not passed on; now somebody may want the rest elsewhere.
                self._changed(self)
        return self._log

    def attend(self, seconds: float, *, sharing: bool = False) -> None:
        """Count a reader that is elsewhere, for so long."""
        self.enter(sharing=sharing)
        asyncio.get_running_loop().call_later(seconds, partial(self.leave, sharing=sharing))

    async def opening(self) -> None:
        """Wait for the first event; raises the run's error where that is all there is."""
        await self.grown(0)
        if self.error is not None and len(self._log) == 1:
            raise self.error

    async def grown(self, position: int) -> bool:
        """Wait until there is more than `position` events; False where there never will be."""
        while position >= len(self._log):
            if self.finished:
                return False
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        return True

    async def answer(self) -> Answer:
        """Wait for the end and fold the events; raises the run's error if it failed."""
        self.enter()
        try:
            await self.over()
        finally:
            self.leave()
        done = self._log[-1]
        if not isinstance(done, Done):
            raise self.error or AppError()
        return Answer(self._log.text(), done)

    async def over(self) -> None:
        """Wait for its end, without a look at each event before."""
        if not self.finished:
            self._ends.append(end := asyncio.get_running_loop().create_future())
            await end

    def cancel(self) -> None:
        """End the log with an `interrupted` error, and stop producing unless others share it.

        Does nothing once the answer is complete, has failed or was cancelled before: what there
        is of it is being stored then, and must be stored once.
        """
        # Behind the task's first step: a task cancelled before it never runs, and ends no log.
        asyncio.get_running_loop().call_soon(self._cancel)

    def stop(self) -> None:
        """As `cancel`, whoever shares it."""
        asyncio.get_running_loop().call_soon(self._stop)

    def settle(self) -> None:
        """From here on nobody cancels the producing task any more."""
        self._stoppable = False

    async def stopped(self) -> None:
        """Wait until the producing task has ended; never raises its error."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def _cancel(self) -> None:
        if self._stoppable and self._sharing and self._hand_over is not None:
            self.settle()
            self._hand_over()
        else:
            self._stop()

    def _stop(self) -> None:
        if self._stoppable and self._task is not None:
            self.settle()
            self._task.cancel()

    def enter(self, *, sharing: bool = False) -> None:
        """A reader has come."""
        self._readers += 1
        self._sharing += sharing
        self._end_grace()

    def _end_grace(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def leave(self, *, sharing: bool = False) -> None:
        """A reader has gone; without any the run is cancelled after its grace."""
        self._readers -= 1
        self._sharing -= sharing
        if self._readers == 0 and not self.finished:
            self._leaving = asyncio.get_running_loop().call_later(self._grace, self.cancel)


class Frames:
    """An async iterator over a run's frames, as many at a time as there are: a reader that lags
    gets several at once. Closing it is leaving."""

    def __init__(self, run: Run, after: int) -> None:
        self._run = run
        self.position = after  # the number of the last event that it gave
        self._present = True
        self._loop = asyncio.get_running_loop()
        run.enter()

    def __aiter__(self) -> "Frames":
        return self

    async def __anext__(self) -> bytes:
        # All in one place: each token comes this way once a reader.
        run, position = self._run, self.position
        while position >= len(run._log):
            if run.finished:
                raise StopAsyncIteration
            waiter = self._loop.create_future()
            run._waiters.append(waiter)
            await waiter
        log = run._seen()
        if position + 1 == len(log):
            self.position += 1
            return log.newest()
        ready = run.frames_behind(position)
        self.position += len(ready)
        return b"".join(ready)

    async def aclose(self) -> None:
        if self._present:
            self._present = False
            self._run.leave()


def _wake(waiters: Sequence[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():  # else it was cancelled
            waiter.set_result(None)
