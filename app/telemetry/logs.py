"""Structured logs on standard error: readable in a terminal, JSON lines otherwise.

Ours and those of libraries go the same way: fields that are not on the list are left out, errors
are told without their texts, and secrets are taken out of what is left.
"""

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, cast

import structlog
from structlog.typing import EventDict, Processor

from app.telemetry.redaction import Redaction
from app.telemetry.tracebacks import format_error

log = structlog.get_logger(__name__)

# All that a line may have. A new one is for someone to think about: it must never hold what a user
# wrote, a document's text or title, a credential, or an address with one. A test finds every call.
FIELDS = frozenset(
    (
        # of every line
        "event", "level", "timestamp", "pid", "request_id", "logger", "exception", "left_out",
        # of the calls
        "action", "address", "again_in_seconds", "agent_id", "at", "attempt", "before",
        "bypasses_rls", "cause", "chars", "chunks", "code", "concern", "count", "endpoint",
        "fallback", "fallback_code", "method", "ms", "name", "named", "object_id", "object_kind",
        "owns_tables", "path", "pause_seconds", "portfolio_id", "provider", "reason", "result",
        "role", "run_id", "seconds", "server", "source", "stages", "stand_in", "state", "status",
        "subject", "superuser", "tenant_id", "upload", "uploads", "workers",
    )
)  # fmt: skip


def configure_logging(
    level: str, *, one_of_several: bool = False, secrets: Iterable[str] = ()
) -> None:
    """Set up structlog and the standard library's loggers, which show warnings and above; the last
    call counts.

    In `one_of_several` processes that log to the same place, each line has the process's id.
    `secrets` are those that the service is configured with: no line will have one.
    """
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    processors = _processors(one_of_several, Redaction(secrets))
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    _take_over_the_librarys(max(number, logging.WARNING), _Foreign(processors))
    sys.excepthook = _unhandled


def _take_over_the_librarys(level: int, form: "_Foreign") -> None:
    """Standard error is ours; what others let the standard library write elsewhere stays."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each.formatter, _Foreign)]:
        root.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form)
    root.addHandler(handler)
    root.setLevel(level)
    # `uvicorn app.asgi:create` has set these up by now. Its log of requests would have whatever
    # stands in a query; ours has their routes.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"


def _processors(one_of_several: bool, redaction: Redaction) -> list[Processor]:
    return [
        *([_with_process] if one_of_several else []),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        _with_error,
        _listed_only,
        cast(Processor, structlog.dev.ConsoleRenderer())
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer(),
        lambda _, __, line: redaction(cast(str, line)),
    ]


class _Foreign(logging.Formatter):
    """A library's record as a line like ours. Of its message the first line only: those below are
    dumps, of which nobody knows what they hold."""

    def __init__(self, processors: Sequence[Processor]) -> None:
        super().__init__()
        self._processors = processors

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().strip().partition("\n")[0]
        line: Any = {"event": message, "logger": record.name, "exc_info": record.exc_info}
        for processor in self._processors:
            line = processor(None, record.levelname.lower(), line)
        return str(line)


def _unhandled(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What ends the process is told like every other error."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("ended by an error", exc_info=error)


def _with_process(_: Any, __: str, event: EventDict) -> EventDict:
    event.setdefault("pid", os.getpid())
    return event


def _with_error(_: Any, __: str, event: EventDict) -> EventDict:
    """`exc_info` as structlog takes it (an error, a triple, or True for the one that is being
    handled) as text."""
    given = event.pop("exc_info", None)
    if isinstance(given, tuple):
        given = given[1]
    error = given if isinstance(given, BaseException) else sys.exception() if given else None
    if error is not None:
        event["exception"] = format_error(error)
    return event


def _listed_only(_: Any, __: str, event: EventDict) -> EventDict:
    """Fields on the list. Those left out are named, but raise nothing: a line is not worth the
    answer that it tells of."""
    if unlisted := event.keys() - FIELDS:
        for name in unlisted:
            del event[name]
        event["left_out"] = sorted(unlisted)
    return event
