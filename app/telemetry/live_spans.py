"""Spans that are there while something goes on, so that what is called knows of which it is part.

Names of a model's call are those of OpenTelemetry's conventions for generative AI.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from types import TracebackType
from typing import Any

from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.chat.model import Scope
from app.chat.ports import Finish, Prompt, Provider, RetrievalRequest
from app.performance import PerformanceMonitor
from app.performance.calls import Function, surrounded
from app.performance.monitor import Tracked, code_of
from app.performance.outgoing import TRACE_HEADERS
from app.performance.tokens import Prices
from app.retrieval.ports import Hit, Source

# What the conventions call a vendor, where it is not what we call it.
VENDORS = {"mistral": "mistral_ai"}
EXTRACTIVE = "extractive"

_w3c = TraceContextTextMapPropagator()


@contextmanager
def current(span: Span) -> Generator[None, None, None]:
    """What is called in this block is part of the span. It is not ended by it."""
    context = set_span_in_context(span)
    headers: dict[str, str] = {}
    _w3c.inject(headers, context)
    before, sent = attach(context), TRACE_HEADERS.set(headers)
    try:
        yield
    finally:
        with suppress(ValueError):  # a generator that somebody else closes ends in his context
            TRACE_HEADERS.reset(sent)
        detach(before)


def failed(span: Span, code: str) -> None:
    """Say how it failed, without the words: they may quote what was asked."""
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR))


class TracedMonitor(PerformanceMonitor):
    """A span for each block that is timed. A decorated function has none: a generator's body runs
    wherever its reader happens to be."""

    def __init__(self, clock: Callable[[], float], prices: Prices, tracer: Tracer) -> None:
        super().__init__(clock, prices)
        self._tracer = tracer

    def track(self, stage: str) -> Tracked:
        span = self._tracer.start_span(stage)
        return TracedBlock(self, stage, self.recorder(stage), self._clock).by(span)

    def track_performance(self, stage: str) -> Callable[[Function], Function]:
        track = super().track
        return lambda function: surrounded(function, lambda: track(stage))


class TracedBlock(Tracked):
    """One block that is timed, with its span."""

    __slots__ = ("_block", "_span")

    def by(self, span: Span) -> "TracedBlock":
        self._span, self._block = span, current(span)
        return self

    def __enter__(self) -> None:
        super().__enter__()
        self._block.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._block.__exit__(None, None, None)
        if isinstance(error, Exception):
            failed(self._span, code_of(error))
        self._span.end()
        super().__exit__(kind, error, traceback)


class TracedSource:
    """`app.retrieval.ports.Source` with a span for each search."""

    def __init__(self, source: Source, tracer: Tracer) -> None:
        self.name = source.name
        self._source = source
        self._tracer = tracer

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        span = self._tracer.start_span(self.name)
        try:
            with current(span):
                hits = await self._source.search(scope, request)
            span.set_attribute("citestream.hits", len(hits))
            return hits
        except asyncio.CancelledError:
            failed(span, "cancelled")  # by its deadline, or as nobody waits for it any more
            raise
        except Exception as error:
            failed(span, code_of(error))
            raise
        finally:
            span.end()


class TracedProvider:
    """`app.chat.ports.Provider` with a span for each call of the model."""

    def __init__(self, provider: Provider, tracer: Tracer) -> None:
        self._provider = provider
        self._tracer = tracer
        self.name = provider.name
        self.model = provider.model
        self.uses_history = provider.uses_history

    async def stream(self, prompt: Prompt) -> AsyncGenerator[list[str] | Finish, None]:
        span = self._tracer.start_span(
            f"chat {self.model}",
            kind=SpanKind.INTERNAL if self.name == EXTRACTIVE else SpanKind.CLIENT,
            attributes=self._request(prompt),
        )
        began = time.perf_counter()
        try:
            async with aclosing(self._provider.stream(prompt)) as stream:
                with current(span):  # up to the first item, no more: then others run in between
                    item = await anext(stream, None)
                seconds = time.perf_counter() - began
                span.set_attribute("gen_ai.response.time_to_first_chunk", seconds)
                while item is not None:
                    if isinstance(item, Finish):
                        span.set_attributes(response(item))
                    yield item
                    item = await anext(stream, None)
        except Exception as error:
            failed(span, code_of(error))
            raise
        finally:
            span.end()

    def _request(self, prompt: Prompt) -> Mapping[str, Any]:
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": VENDORS.get(self.name, self.name),
            "gen_ai.request.model": self.model,
            "gen_ai.request.max_tokens": prompt.max_tokens,
            "gen_ai.request.temperature": prompt.temperature,
            "gen_ai.request.stream": True,
        }


def response(finish: Finish) -> Mapping[str, Any]:
    """Why an answer ended, and what it took where the vendor counts."""
    found: dict[str, Any] = {"gen_ai.response.finish_reasons": [finish.reason]}
    if finish.usage is not None:
        found["gen_ai.usage.input_tokens"] = finish.usage.prompt_tokens
        found["gen_ai.usage.output_tokens"] = finish.usage.completion_tokens
    return found
