"""The places where a trace could be made. Here it is not: everything stays what it was.

Light to import: what makes traces is imported where they are switched on.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from app.chat.measuring import Measuring
from app.chat.ports import Provider
from app.chat.timing import Stopwatch
from app.performance import PerformanceMonitor
from app.performance.tokens import Prices
from app.retrieval.ports import Source

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

log = structlog.get_logger(__name__)


class Tracing:
    """Makes the parts of a service that a trace tells of. These are without one."""

    @property
    def http(self) -> "TelemetryConfig":
        """For FastAPI, which traces the requests."""
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

    def monitor(self, clock: Callable[[], float], prices: Prices) -> PerformanceMonitor:
        return PerformanceMonitor(clock, prices)

    def waited(self, record: Callable[[float], None]) -> Callable[[float], None]:
        """What notes for how many seconds somebody waited for a connection."""
        return record

    def stopwatch(self, clock: Callable[[], float]) -> Stopwatch:
        return Stopwatch(clock)

    def measuring(self, monitor: PerformanceMonitor, slow_seconds: float) -> Measuring:
        return Measuring(monitor, slow_seconds)

    def source(self, source: Source) -> Source:
        return source

    def provider(self, provider: Provider) -> Provider:
        return provider

    async def aclose(self) -> None:
        """Send what there is still to be sent."""


def open_tracing(endpoint: str | None) -> Tracing:
    """Traces to this OTLP collector over HTTP (`http://host:4318`); none without one."""
    if endpoint is None:
        return Tracing()
    try:
        from app.telemetry.spans import SpanTracing
    except ImportError:
        # The variable may have been set for every program of a machine.
        log.warning("no traces: install citestream[telemetry] for them", endpoint=endpoint)
        return Tracing()
    log.info("traces are sent", endpoint=endpoint)
    return SpanTracing.to(endpoint)
