"""Traces by OpenTelemetry: a span for a request, for each stage of its answer and each model call.

Nothing that anybody asked, found or answered is in one, and no key: names, numbers and ids.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable

from fastapi.telemetry import TelemetryConfig
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from starlette.types import Scope

from app.chat.measuring import Measuring
from app.chat.ports import Provider
from app.chat.timing import Stopwatch
from app.performance import PerformanceMonitor
from app.performance.stages import QUEUE
from app.performance.tokens import Prices
from app.retrieval.ports import Source
from app.telemetry.answer_spans import TracedMeasuring, TracedStopwatch
from app.telemetry.live_spans import TracedMonitor, TracedProvider, TracedSource
from app.telemetry.tracing import Tracing

SERVICE = "citestream"
# Asked for all the time by machines, of which nobody wants a trace.
PROBES = frozenset(("/healthz", "/readyz", "/metrics"))
URL_PATH, URL_QUERY = "url.path", "url.query"
# A word of our routes or an id. Whatever else a caller has put into a path may be anything.
PLAIN_SEGMENT = re.compile(r"[a-z_.]{0,24}|[0-9]{1,19}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# How long the end of a process waits for a collector to take the last spans.
LAST_SECONDS = 2.0


class SpanTracing(Tracing):
    """Makes spans and sends them. The world's own variables (`OTEL_SERVICE_NAME`,
    `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, …) count, as everywhere."""

    def __init__(self, exporter: SpanExporter) -> None:
        """It is sent to in batches and in the background."""
        self._exporter = exporter
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(WithoutWriting())
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE)

    @classmethod
    def to(cls, endpoint: str) -> "SpanTracing":
        """Sends them to this collector."""
        # It says so when spans are lost; that it tries again is nobody's matter.
        logging.getLogger(trace_exporter.__name__).setLevel(logging.ERROR)
        return cls(trace_exporter.OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces"))

    @property
    def http(self) -> TelemetryConfig:
        return {
            "tracer_provider": self._provider,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": is_probe,
        }

    def monitor(self, clock: Callable[[], float], prices: Prices) -> PerformanceMonitor:
        return TracedMonitor(clock, prices, self._tracer)

    def waited(self, record: Callable[[float], None]) -> Callable[[float], None]:
        def waited(seconds: float) -> None:
            record(seconds)
            now = time.time_ns()
            span = self._tracer.start_span(QUEUE, start_time=now - int(seconds * 1e9))
            span.end(now)

        return waited

    def stopwatch(self, clock: Callable[[], float]) -> Stopwatch:
        return TracedStopwatch(clock, self._tracer)

    def measuring(self, monitor: PerformanceMonitor, slow_seconds: float) -> Measuring:
        return TracedMeasuring(monitor, slow_seconds)

    def source(self, source: Source) -> Source:
        return TracedSource(source, self._tracer)

    def provider(self, provider: Provider) -> Provider:
        return TracedProvider(provider, self._tracer)

    async def aclose(self) -> None:
        closing = asyncio.create_task(asyncio.to_thread(self._provider.shutdown))
        await asyncio.wait({closing}, timeout=LAST_SECONDS)
        if not closing.done():
            self._exporter.shutdown()  # it tries no more
        await closing


class WithoutWriting(SpanProcessor):
    """Takes what a caller wrote into and behind the path out of a request's span."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.attributes and URL_QUERY in span.attributes:
            span.set_attribute(URL_QUERY, "REDACTED")
        if span.attributes and URL_PATH in span.attributes:
            span.set_attribute(URL_PATH, plain_path(str(span.attributes[URL_PATH])))


def plain_path(path: str) -> str:
    """The path with its words and ids only."""
    return "/".join(
        part if PLAIN_SEGMENT.fullmatch(part) else "REDACTED" for part in path.split("/")
    )


def is_probe(scope: Scope) -> bool:
    """Whether a request is no user's."""
    return scope.get("path") in PROBES


def _resource() -> Resource:
    """The environment's, by our name where that has none."""
    found = Resource.create()
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: SERVICE}))
    return found
