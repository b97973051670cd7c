"""A run that another process produces, as its readers here see it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from uuid import UUID

from app.chat.event_log import Encode
from app.chat.events import Answer, Event
from app.chat.flights import Shared
from app.chat.model import Scope
from app.chat.ports import Turn
from app.chat.replay import failed, replay
from app.chat.run import Run
from app.errors import AppError, Interrupted, InvalidInput, Unavailable, named

# How often, how long after each other, to look whether an event has come that a reader names.
LOOKS, LOOK_SECONDS = 20, 0.05

AWAY = "This answer is another process's, which cannot be reached just now; ask for it again."
END = b'"type":"done"', b'"type":"error"'


class RunLost(Unavailable):
    """The process that produced this answer is gone; ask again."""

    code = "run_lost"


@dataclass(frozen=True, slots=True)
class Passed:
    """How far a run was passed on: the number of its last event there, and whether that ends it."""

    last: int
    ended: bool


class RunStreams(Shared, Protocol):
    """The frames of runs, passed on between processes."""

    def changed(self, run: Run) -> None:
        """Pass on what is new of a run of this process, soon."""
        ...

    def follow(self, scope: Scope, run_id: UUID, after: int) -> AsyncIterator[bytes]:
        """The frames behind a number, to the last one, each whole, as another process passes them
        on; it goes on while somebody follows. RunLost where that process is gone, EventsGone
        where a piece is, Unavailable where nothing can be passed on."""
        ...

    async def passed(self, scope: Scope, run_id: UUID) -> Passed | None:
        """How far the run was passed on; None where nothing is kept. Its end may be stored before
        it is passed on."""
        ...

    async def forget(self, scope: Scope, run_id: UUID) -> None:
        """Remove what was passed on of a run that was broken off: it is begun again."""
        ...

    async def cancel(self, scope: Scope, run_id: UUID) -> None:
        """Ask whichever process has the run to stop it."""
        ...


class RemoteRun:
    """Like a `Run`, for who attaches to one; its log is, or was, in another process. `last` is
    the number of its last event where it is finished and that is there; `over`: it is finished,
    wherever its events are."""

    def __init__(
        self,
        scope: Scope,
        run_id: UUID,
        last: int | None,
        over: bool,
        streams: RunStreams,
        stored: Callable[[], Awaitable[Turn]],
        encode: Encode,
    ) -> None:
        self.id = run_id
        self.finished = last is not None
        self.scope = scope
        self._last = last
        self._over = over
        self._streams = streams
        self._stored = stored
        self._encode = encode

    async def follows(self, after: int) -> bool:
        """As of a `Run`. Its events come here a little later than where it is made."""
        if self._last is not None:
            return after < self._last
        passed: Passed | None = None
        for _ in range(LOOKS if after else 0):
            passed = await self._streams.passed(self.scope, self.id)
            if passed is not None and (after <= passed.last or passed.ended):
                return after < passed.last or not passed.ended
            await asyncio.sleep(LOOK_SECONDS)
        if passed is not None and not self._over:
            raise InvalidInput(f"This run has no event {after} yet.")
        return True  # whoever follows hears what is wrong

    async def opening(self) -> None:
        """Its first event has long been there."""

    def frames(self, after: int = 0) -> "RemoteFrames":
        return RemoteFrames(self._streams.follow(self.scope, self.id, after), after, self._encode)

    async def answer(self) -> Answer:
        """Wait for the end, and tell it from what is stored; raises the run's error."""
        async with aclosing(self.frames()) as frames:
            async for _ in frames:
                pass
        turn = await self._stored()
        if turn.status == "streaming":  # what ended was the following, not the run
            raise Unavailable(AWAY, retry_after=1.0)
        return await told(turn, self.scope, self._encode).answer()

    def cancel(self) -> None:
        self._cancelling = asyncio.create_task(self._streams.cancel(self.scope, self.id))


class RemoteFrames:
    """The frames of a run elsewhere. What keeps them from coming ends them, as an `error`."""

    def __init__(self, frames: AsyncIterator[bytes], after: int, encode: Encode) -> None:
        self._frames = frames
        self.position = after
        self._encode = encode
        self._ended = False

    def __aiter__(self) -> "RemoteFrames":
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            frame = await anext(self._frames, None)
        except AppError as error:
            return self._break_off(error)
        if frame is None:
            raise StopAsyncIteration
        self.position += 1
        # Quotes inside of an answer's text are escaped, so this is the event's own type.
        self._ended = any(end in frame[:64] for end in END)
        return frame

    def _break_off(self, error: AppError) -> bytes:
        self._ended = True
        return self._encode(self.position + 1, failed(error))

    async def aclose(self) -> None:
        if hasattr(self._frames, "aclose"):
            await self._frames.aclose()


def told(turn: Turn, scope: Scope, encode: Encode) -> Run:
    """A finished run, from what is stored of it."""
    run = Run(turn.run_id, scope, 0.0, encode)
    events: list[Event] = list(replay(turn))
    for event in events:
        run.append(event)
    if turn.status != "complete":
        run.error = named(turn.error_code or Interrupted.code)
    return run


# What a reader attaches to.
AnyRun: TypeAlias = Run | RemoteRun
