"""One production for all who ask the same at once: the others follow the run that is at it.

A follower is a run of its own, with its own turn; what it says it takes from the leader's log. The
leader's log counts followers as readers, so it goes on when whoever asked it first has left. Where
he has it cancelled, an heir of that run goes on, and they follow that. Of the runs of one process
the first follows a leader elsewhere, and the rest follow that one.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Protocol, TypeAlias
from uuid import UUID, uuid5

from app.chat.events import Event, Failed
from app.chat.model import Scope
from app.chat.replay import failed
from app.chat.run import Run
from app.chat.runs import Runs
from app.errors import AppError, Interrupted, Unavailable, named

# How often a leader elsewhere that says nothing is looked for: one that died is to be replaced
# within a second. One that has come to its end leads no longer either, and its last words may be on
# their way; and where nobody can say who leads, it is more likely that he is asked too much.
LOOK_SECONDS = 0.05
HEIR_LOOKS, GONE_LOOKS, UNKNOWN_LOOKS = 3, 3, 10

Decode = Callable[[bytes], Event]


class Leading(Protocol):
    """Who produces what, over all processes. May be lost at any moment: then everybody leads."""

    async def lead(self, key: str, run_id: UUID) -> UUID | None:
        """Let this run produce what has the key, until `let_go` or the process's death; the run
        that does so already, or None."""
        ...

    async def leader(self, key: str) -> UUID | None:
        """The run that does so; None where none does. Unavailable where nobody can say."""
        ...

    def let_go(self, key: str, run_id: UUID) -> None:
        """The run leads no longer. Does nothing where it did not."""
        ...


class Shared(Protocol):
    """Runs of other processes, as `app.chat.elsewhere.RunStreams` has them."""

    def share(self, scope: Scope, run_id: UUID, after: int) -> AsyncIterator[bytes]:
        """The frames behind a number, as `RunStreams.follow` gives them, for one who makes an
        answer of his own of them: it goes on for him where the run is cancelled by whom it
        belongs to."""
        ...

    async def is_kept(self, scope: Scope, run_id: UUID) -> bool:
        """Whether something of the run is there to be read."""
        ...


class LocalLeader:
    """A run of this process, as its followers read it."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def error(self) -> AppError | None:
        return self._run.error

    async def follow(self) -> AsyncGenerator[Event, None]:
        """Its events from the first one, or behind those that it has said its heir's."""
        said = 0
        while True:
            async with aclosing(self._run.follow(said, sharing=True)) as events:
                async for number, event in events:
                    if isinstance(event, Failed) and self._run.heir is not None:
                        break
                    said = number
                    yield event
            if self._run.heir is None:
                return
            self._run = self._run.heir


class RemoteLeader:
    """A run of another process, as its followers here read it. Of its passages they learn what a
    reader is told, without the texts."""

    def __init__(
        self, key: str, scope: Scope, run_id: UUID, streams: Shared, leading: Leading,
        decode: Decode,
    ) -> None:  # fmt: skip
        self.error: AppError | None = None
        self._key = key
        self._scope = scope
        self._run_id = run_id
        self._streams = streams
        self._leading = leading
        self._decode = decode

    async def follow(self) -> AsyncGenerator[Event, None]:
        """As `LocalLeader.follow`, once. Where the leader dies, or cannot be followed, it is as if
        it had been stopped."""
        said = 0
        while True:
            ended: Failed | None = None
            async with aclosing(self._frames(said)) as frames:
                async for frame in frames:
                    event = self._decode(frame) if frame else failed(Interrupted())
                    if isinstance(event, Failed):
                        ended = event
                        break
                    said += 1
                    yield event
            if ended is None:
                return
            if ended.code != Interrupted.code or not await self._has_heir():
                self.error = named(ended.code)
                yield ended
                return
            self._run_id = heir_id(self._run_id)

    async def _leads(self) -> bool | None:
        """Whether it is still the one; None where nobody can say."""
        try:
            return await self._leading.leader(self._key) == self._run_id
        except Unavailable:
            return None

    async def _has_heir(self) -> bool:
        """Its first events are passed on before or together with the end of the one before."""
        for _ in range(HEIR_LOOKS):
            if await self._streams.is_kept(self._scope, heir_id(self._run_id)):
                return True
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def _frames(self, after: int) -> AsyncGenerator[bytes, None]:
        """Its frames; an empty one where it is gone."""
        coming: asyncio.Task[bytes | None] | None = None
        gone = unknown = 0  # looks one after the other
        said = self._streams.share(self._scope, self._run_id, after)
        try:
            while True:
                coming = coming or asyncio.create_task(_next(said))
                await asyncio.wait({coming}, timeout=LOOK_SECONDS)
                if coming.done():
                    frame, coming, gone, unknown = coming.result(), None, 0, 0
                    if frame is None:
                        return
                    yield frame
                    continue
                leads = await self._leads()
                gone = gone + 1 if leads is False else 0
                unknown = unknown + 1 if leads is None else 0
                if (gone == GONE_LOOKS or unknown == UNKNOWN_LOOKS) and not coming.done():
                    yield b""
                    return
        except AppError:
            yield b""
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            if isinstance(said, AsyncGenerator):
                await said.aclose()


Leader: TypeAlias = LocalLeader | RemoteLeader


class Flights:
    """Which run produces the answer of which cache key. `decode` makes an event of a frame."""

    def __init__(self, runs: Runs, leading: Leading, streams: Shared, decode: Decode) -> None:
        self._runs = runs
        self._leading = leading
        self._streams = streams
        self._decode = decode
        self._leaders: dict[str, UUID] = {}

    def join(self, scope: Scope, key: str, run_id: UUID) -> LocalLeader | None:
        """The run of this process that is producing this answer; None where this one is to do it
        unless `claim` finds another, and to `land` at its end."""
        leader = self._leaders.get(key)
        if leader is not None and leader != run_id:
            run = self._runs.shared(scope.tenant_id, leader)
            if run is not None and run.error is None:
                return LocalLeader(run)
        self._leaders[key] = run_id
        return None

    async def claim(self, scope: Scope, key: str, run_id: UUID) -> Leader | None:
        """The run elsewhere that is producing this answer; None where this one is to do it."""
        other = await self._leading.lead(key, run_id)
        if other is None or other == run_id:
            return None
        if self._runs.shared(scope.tenant_id, other) is not None:
            return None  # one of ours, which is just letting go
        return RemoteLeader(key, scope, other, self._streams, self._leading, self._decode)

    async def hand_over(self, key: str, run_id: UUID, heir: UUID) -> None:
        """Let another run go on for those who follow this one, here and elsewhere."""
        if self._leaders.get(key) == run_id:
            self._leaders[key] = heir
            await self._leading.lead(key, heir)

    def land(self, key: str, run_id: UUID) -> None:
        """The run has come to its end, whichever; its answer is in the cache if it is fit to be."""
        if self._leaders.get(key) == run_id:
            del self._leaders[key]
            self._leading.let_go(key, run_id)


class Alone:
    """`Leading` where there is no other process."""

    async def lead(self, key: str, run_id: UUID) -> UUID | None:
        return None

    async def leader(self, key: str) -> UUID | None:
        return None

    def let_go(self, key: str, run_id: UUID) -> None:
        return None

    async def aclose(self) -> None:
        return None


def heir_id(run_id: UUID) -> UUID:
    """Of the run that goes on where this one was cancelled while others shared it: those who are
    elsewhere know it from any other that produces the same."""
    return uuid5(run_id, "heir")


async def _next(frames: AsyncIterator[bytes]) -> bytes | None:
    return await anext(frames, None)
