"""The span of an answer with its stages, made of what its stopwatch has seen, at its end."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, Status, StatusCode, Tracer, set_span_in_context

from app.chat.measuring import Measuring
from app.chat.plan import Draft
from app.chat.timing import Stopwatch
from app.errors import AppError
from app.performance.stages import FIRST_TOKEN, FUSE
from app.retrieval.rerank import RERANKER

ANSWER = "answer"
# Of what a retrieval tells, these have no span of their own yet, and come one after the other at
# its end.
LAST_OF_RETRIEVAL = (FUSE, RERANKER)


class TracedStopwatch(Stopwatch):
    """Remembers when each stage was; `end` makes spans of them."""

    def __init__(self, clock: Callable[[], float], tracer: Tracer) -> None:
        super().__init__(clock)
        self._tracer = tracer
        self._offset_ns = time.time_ns() - int(clock() * 1e9)
        self._stages: list[tuple[str, float, float]] = []
        self._span: Span | None = None

    @contextmanager
    def stage(self, name: str) -> Generator[None, None, None]:
        began = self._clock()
        try:
            with super().stage(name):
                yield
        finally:
            self._stages.append((name, began, self._clock()))

    def add(self, timings_ms: Mapping[str, float]) -> None:
        super().add(timings_ms)
        ended = self._clock()
        for name in LAST_OF_RETRIEVAL:
            if name in timings_ms:
                began = ended - timings_ms[name] / 1000
                self._stages.append((name, began, ended))
                ended = began

    def running(self) -> AbstractContextManager[None]:
        """What is done in this block is part of the answer's span."""
        self._span = self._tracer.start_span(ANSWER, start_time=self._at(self._began))
        return _within(self._span)

    def end(self, draft: Draft, error: AppError | None) -> None:
        """The answer has come to its end, whichever."""
        if (span := self._span) is None:
            return
        context = set_span_in_context(span)
        for name, began, ended in self._stages:
            stage = self._tracer.start_span(name, context, start_time=self._at(began))
            stage.end(self._at(ended))
        if (first_ms := self.timings_ms.get(FIRST_TOKEN)) is not None:
            span.add_event(FIRST_TOKEN, timestamp=self._at(self._began + first_ms / 1000))
        describe(span, draft)
        if error is not None:
            span.set_attribute("error.type", error.code)
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _at(self, seconds: float) -> int:
        return int(seconds * 1e9) + self._offset_ns


class TracedMeasuring(Measuring):
    """Ends the answer's span, too."""

    def over(self, draft: Draft, error: AppError | None) -> None:
        super().over(draft, error)
        if isinstance(draft.stopwatch, TracedStopwatch):
            draft.stopwatch.end(draft, error)


def describe(span: Span, draft: Draft) -> None:
    """What an answer is known by, and how it came about."""
    plan = draft.plan
    span.set_attributes(
        {
            "gen_ai.agent.id": str(plan.agent.id),
            "gen_ai.conversation.id": str(plan.ids.conversation),
            "citestream.run.id": str(plan.ids.run),
            "citestream.cached": draft.cached,
            "citestream.shared": draft.leader is not None,
            "citestream.complexity": str(plan.complexity),
            "citestream.language": plan.language,
            "citestream.passages": len(draft.passages),
            "citestream.degraded": list(draft.degraded),
        }
    )


@contextmanager
def _within(span: Span) -> Generator[None, None, None]:
    token = attach(set_span_in_context(span))
    try:
        yield
    finally:
        detach(token)
