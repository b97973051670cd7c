"""What goes along with every call to a vendor or an encoder, so that its part is in the trace."""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

# W3C's `traceparent` and `tracestate`; nothing while no trace is being made.
TRACE_HEADERS: ContextVar[Mapping[str, str]] = ContextVar(
    "trace headers", default=MappingProxyType({})
)


def trace_lines() -> bytes:
    """The same as lines of an HTTP request's head, each behind a line break."""
    return "".join(f"\r\n{name}: {value}" for name, value in TRACE_HEADERS.get().items()).encode()
