"""The Python engine: what the HTTP layer, the CLI and a Python program ask questions through."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any
from uuid import UUID

from app.chat.cached import Cached
from app.chat.elsewhere import AnyRun, RemoteRun, RunStreams, told
from app.chat.event_log import Encode
from app.chat.events import Answer, Event
from app.chat.model import CacheMode, Claim, Question, Scope
from app.chat.pipeline import Pipeline
from app.chat.ports import IdempotencyKey, Reserve, Turn
from app.chat.producing import Producer, Watcher
from app.chat.runs import Runs
from app.chat.warming import Warmed
from app.errors import AppError, InvalidInput, NotFound, Unavailable
from app.performance import PerformanceMonitor

# A run is stored within milliseconds of its first event. Whoever looks for it elsewhere may be as
# quick, and is not told that there is none before he has looked so often, so long after each other.
# Its id tells when it was made; processes' clocks may be so far apart.
LOOKS, LOOK_SECONDS, YOUNG_SECONDS = 10, 0.05, 30


class Engine:
    """Answers questions. Every answer is a run; `ask` folds it, `stream` yields its events.

    Without a `scope` the owner of the `default` tenant asks. Safe to share between tasks. `cached`
    makes the decorator for coroutine functions of the caller's own (`app.chat.cached`), `monitor`
    times stages of theirs.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        runs: Runs,
        default_scope: Callable[[], Awaitable[Scope]],
        encode: Encode,
        streams: RunStreams,
        cached: Cached,
        monitor: PerformanceMonitor,
    ) -> None:
        """`encode` makes the bytes that a run's readers over HTTP get; `streams` passes them on to
        readers on other processes."""
        self.runs = runs
        self._pipeline = pipeline
        self._default_scope = default_scope
        self._encode = encode
        self.streams = streams
        self.cached = cached
        self.monitor = monitor
        self._producer = Producer(pipeline, runs, encode, streams.changed)

    def watched_by(self, watcher: Watcher) -> None:
        """Tell it of every run from now on, before any has begun."""
        self._producer.watched_by(watcher)

    async def start(
        self,
        scope: Scope | Claim,
        question: Question,
        *,
        grace_seconds: float = 0.0,
        key: IdempotencyKey | None = None,
        reserve: Reserve | None = None,
    ) -> AnyRun:
        """Check and load the question, then produce its answer in a task of its own.

        Raises AppError while nothing has been produced yet. A run that no reader follows any
        more is cancelled after `grace_seconds`; what there is of the answer is kept. With the key
        of a request that was sent before, its run: still going on, over, or begun again where it
        failed. `reserve` sets aside what the answer may take, in the place of the budget.
        """
        draft = await self._pipeline.prepare(scope, question, reserve)
        new_id = draft.plan.ids.run
        try:
            begun = None if key is None else await self._pipeline.begin(draft, key)
            if begun is None or begun.fresh:
                if draft.plan.ids.run != new_id:  # one that was broken off begins again
                    await self.streams.forget(draft.plan.scope, draft.plan.ids.run)
                return self._producer.begin(draft, grace_seconds)
        except BaseException:
            self._pipeline.give_up(draft)
            raise
        self._pipeline.give_up(draft)
        return await self.find(draft.plan.scope, begun.ids.run)

    async def find(self, scope: Scope, run_id: UUID) -> AnyRun:
        """A run of the scope's subject: this process's, another one's, or from what is stored of
        it once it is forgotten. NotFound, also where its conversation was deleted since."""
        here = self.runs.find(scope, run_id)
        if here is not None and not here.is_stored:
            return here
        stored = partial(self._pipeline.find_run, scope, run_id)
        try:
            turn = await (_looked_for(stored, run_id) if here is None else stored())
        except Unavailable:
            if here is None:
                raise
            return here
        over = turn.status != "streaming"
        if here is not None and over and (turn.status == "complete") == (here.error is None):
            return here  # nobody has begun it again since
        passed = await self.streams.passed(scope, run_id) if over else None
        if over and passed is None:
            return told(turn, scope, self._encode)
        # Where its end is on its way, something follows still.
        last = passed.last if passed is not None and passed.ended else None
        # It may have come while that was read.
        run = self.runs.find(scope, run_id)
        if run is not None and run is not here:
            return run
        return RemoteRun(scope, run_id, last, over, self.streams, stored, self._encode)

    async def remove(
        self,
        scope: Scope,
        removing: Callable[[], Awaitable[None]],
        *,
        conversation_id: UUID | None = None,
        agent_id: int | None = None,
    ) -> None:
        """Remove a conversation or an agent, and stop what is being answered there: nobody could
        read it any more."""
        runs = await self._pipeline.streaming(scope, conversation_id, agent_id)
        await removing()
        for run_id in runs:
            if (run := self.runs.shared(scope.tenant_id, run_id)) is not None:
                run.cancel()
            else:
                with suppress(Unavailable):  # it can be stored no more in any case
                    await self.streams.cancel(scope, run_id)

    async def ask(
        self,
        message: str,
        *,
        agent: int | str = "default",
        portfolio_id: int | None = None,
        conversation_id: UUID | None = None,
        language: str | None = None,
        filters: Mapping[str, Any] | None = None,
        cache: CacheMode = "use",
        scope: Scope | None = None,
    ) -> Answer:
        """The whole answer. Raises AppError."""
        question = Question(
            agent, message, portfolio_id, conversation_id, language, filters or {}, cache
        )
        scope = scope or await self._default_scope()
        draft = await self._pipeline.prepare(scope, question)
        return await self._producer.begin(draft, grace_seconds=0.0).answer()

    async def stream(
        self,
        message: str,
        *,
        agent: int | str = "default",
        portfolio_id: int | None = None,
        conversation_id: UUID | None = None,
        language: str | None = None,
        filters: Mapping[str, Any] | None = None,
        cache: CacheMode = "use",
        scope: Scope | None = None,
    ) -> AsyncGenerator[Event, None]:
        """The events of one answer; the last one is `Done` or `Failed`. Closing it cancels."""
        question = Question(
            agent, message, portfolio_id, conversation_id, language, filters or {}, cache
        )
        scope = scope or await self._default_scope()
        draft = await self._pipeline.prepare(scope, question)
        run = self._producer.begin(draft, grace_seconds=0.0)
        async with aclosing(run.follow()) as events:
            async for _, event in events:
                yield event

    async def ask_many(
        self,
        messages: Sequence[str],
        *,
        max_concurrent: int = 10,
        **options: Any,
    ) -> list[Answer]:
        """Answers in the order of the questions, at most `max_concurrent` at a time.

        `options` are those of `ask`. The first failure is raised and stops the rest.
        """
        if max_concurrent < 1:
            raise InvalidInput("`max_concurrent` must be at least 1.")
        gate = asyncio.Semaphore(max_concurrent)

        async def one(message: str) -> Answer:
            async with gate:
                return await self.ask(message, **options)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(message)) for message in messages]
        except* AppError as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def warm(self, scope: Scope, question: Question) -> Warmed:
        """Have the question's answer cached before it is asked; stores no conversation and no run.
        Raises AppError."""
        return await self._pipeline.warm(await self._pipeline.prepare(scope, question))

    async def close(self) -> None:
        """End every run; readers get their terminal event, partial answers are kept. Cached
        functions of the caller's that are being called are stopped."""
        await self.runs.close()
        await self.cached.close()


async def _looked_for(stored: Callable[[], Awaitable[Turn]], run_id: UUID) -> Turn:
    for _ in range(LOOKS if _is_young(run_id) else 0):
        try:
            return await stored()
        except NotFound:  # its first event may be out before its beginning is stored
            await asyncio.sleep(LOOK_SECONDS)
    return await stored()


def _is_young(run_id: UUID) -> bool:
    """Whether the id was made just now, by its first 48 bits (UUIDv7: milliseconds since 1970)."""
    return abs(time.time() - (run_id.int >> 80) / 1000) < YOUNG_SECONDS
