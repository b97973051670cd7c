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
from app.retrieval.deadlines import Deadlines
from app.retrieval.ports import Hit, Source

log = structlog.get_logger(__name__)


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
    """Asks sources at the same time. `clock` gives seconds and never goes back.

    `deadlines` are seconds by source; one that is not named has `deadline_seconds`.
    """

    def __init__(
        self,
        deadline_seconds: float,
        clock: Callable[[], float],
        deadlines: Mapping[str, float] | None = None,
    ) -> None:
        self._default = deadline_seconds
        self._by_source = deadlines or {}
        self._clock = clock
        self._deadlines = Deadlines()

    async def collect(
        self, sources: Sequence[Source], scope: Scope, request: RetrievalRequest
    ) -> Collected:
        """Every source's hits within its deadline; a failing or late source costs only its own.

        Raises InvalidInput and NotFound, which are about the request and not the source, and
        DatabaseUnavailable when nothing answered and that is why.
        """
        limits = [self._by_source.get(source.name, self._default) for source in sources]
        tasks = [
            asyncio.create_task(
                self._ask(source, scope, request, seconds), name=f"source:{source.name}"
            )
            for source, seconds in zip(sources, limits, strict=True)
        ]
        await self._deadlines.settle(dict(zip(tasks, limits, strict=True)))
        return judge(
            [
                outcome_of(task, source.name, seconds)
                for task, source, seconds in zip(tasks, sources, limits, strict=True)
            ]
        )

    async def _ask(
        self, source: Source, scope: Scope, request: RetrievalRequest, seconds: float
    ) -> Outcome:
        started = self._clock()
        hits: Sequence[Hit] = ()
        error: Exception | None = None
        try:
            async with asyncio.timeout(seconds):
                hits = await source.search(scope, request)
        except Exception as caught:  # a source's fault must not become the answer's
            error = caught
        elapsed_ms = round((self._clock() - started) * 1000, 3)
        return Outcome(source.name, hits, elapsed_ms, error)


def outcome_of(task: asyncio.Task[Outcome], name: str, seconds: float) -> Outcome:
    """What a settled task came to. One that was left behind may have been cancelled by now, while
    others were waited for: that is not the answer's cancellation."""
    if not task.done() or task.cancelled():
        return late(name, seconds)
    return task.result()


def late(name: str, seconds: float) -> Outcome:
    """The outcome of a source that ignores its deadline; it goes on alone until it stops."""
    return Outcome(name, (), seconds * 1000, TimeoutError(f"{name} did not stop at its deadline"))


def judge(outcomes: Sequence[Outcome]) -> Collected:
    """Sort answers from failures, and raise where no answer may be given."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in failed:
        if isinstance(outcome.error, InvalidInput | NotFound):
            raise outcome.error
    for outcome in failed:
        reason = (
            "timeout" if isinstance(outcome.error, TimeoutError) else type(outcome.error).__name__
        )
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
