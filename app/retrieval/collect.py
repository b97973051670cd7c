"""Sources side by side, each under its own deadline: the slowest one costs, never the sum."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.errors import (
    AppError,
    DatabaseUnavailable,
    EncoderUnavailable,
    InvalidInput,
    NotFound,
)
from app.retrieval.ports import Hit, Source

log = structlog.get_logger(__name__)

# How long a cancelled source may take to clean up (a driver tells its server to stop) before the
# others go on without waiting for it.
GRACE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one source came to: its hits, best first, or the error instead of them."""

    name: str
    hits: Sequence[Hit]
    elapsed_ms: float
    error: Exception | None = None

    @property
    def culprit(self) -> str:
        """What to name in `degraded`: the encoder where that is what failed, else the source."""
        return "encoder" if isinstance(self.error, EncoderUnavailable) else self.name


@dataclass(frozen=True, slots=True)
class Collected:
    """Hits by source, for those that answered; times for all; names of what failed."""

    hits: Mapping[str, Sequence[Hit]]
    timings_ms: Mapping[str, float]
    degraded: Sequence[str]


class Collector:
    """Asks sources at the same time. `clock` gives seconds and never goes back."""

    def __init__(self, deadline_seconds: float, clock: Callable[[], float]) -> None:
        self._deadline = deadline_seconds
        self._clock = clock
        # Sources that did not stop when told to; kept here so that they are not lost mid-way.
        self._stragglers: set[asyncio.Task[Outcome]] = set()

    async def collect(
        self, sources: Sequence[Source], scope: Scope, request: RetrievalRequest
    ) -> Collected:
        """Every source's hits within the deadline; a failing or late source costs only its own.

        Raises InvalidInput and NotFound, which are about the request and not the source, and
        DatabaseUnavailable when nothing answered and that is why.
        """
        started = self._clock()
        tasks = [
            asyncio.create_task(self._ask(source, scope, request), name=f"source:{source.name}")
            for source in sources
        ]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self._deadline + GRACE_SECONDS)
        except asyncio.CancelledError:
            await self._stop(tasks)
            raise
        outcomes = [
            task.result() if task.done() else self._late(task, source.name, started)
            for task, source in zip(tasks, sources, strict=True)
        ]
        return judge(outcomes)

    async def _ask(self, source: Source, scope: Scope, request: RetrievalRequest) -> Outcome:
        started = self._clock()
        hits: Sequence[Hit] = ()
        error: Exception | None = None
        try:
            async with asyncio.timeout(self._deadline):
                hits = await source.search(scope, request)
        except Exception as caught:  # a source's fault must not become the answer's
            error = caught
        elapsed_ms = round((self._clock() - started) * 1000, 3)
        return Outcome(source.name, hits, elapsed_ms, error)

    def _late(self, task: asyncio.Task[Outcome], name: str, started: float) -> Outcome:
        """The outcome of a source that ignores its deadline; it goes on alone until it stops."""
        self._leave(task)
        error = TimeoutError(f"{name} did not stop at its deadline")
        return Outcome(name, (), round((self._clock() - started) * 1000, 3), error)

    async def _stop(self, tasks: Sequence[asyncio.Task[Outcome]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            _, pending = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
            for task in pending:
                self._leave(task)

    def _leave(self, task: asyncio.Task[Outcome]) -> None:
        task.cancel()
        self._stragglers.add(task)
        task.add_done_callback(self._stragglers.discard)


def judge(outcomes: Sequence[Outcome]) -> Collected:
    """Sort answers from failures, and raise where no answer may be given."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        if isinstance(outcome.error, InvalidInput | NotFound):
            raise outcome.error
    for outcome in failed:
        reason = "timeout" if isinstance(outcome.error, TimeoutError) else repr(outcome.error)
        log.warning(
            "source_failed", source=outcome.name, reason=reason, exc_info=unexpected(outcome.error)
        )
    if len(failed) == len(outcomes):
        # An answer from nothing would pretend that the documents say nothing.
        for outcome in failed:
            if isinstance(outcome.error, DatabaseUnavailable):
                raise outcome.error
    return Collected(
        hits={outcome.name: outcome.hits for outcome in outcomes if outcome.error is None},
        timings_ms={outcome.name: outcome.elapsed_ms for outcome in outcomes},
        degraded=tuple(dict.fromkeys(outcome.culprit for outcome in failed)),
    )


def unexpected(error: Exception | None) -> Exception | None:
    """The error where it needs its traceback in the log: neither ours nor a deadline."""
    return None if isinstance(error, AppError | TimeoutError) else error
