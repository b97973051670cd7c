"""Structured logs on standard error: readable in a terminal, JSON lines otherwise."""

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog


def configure_logging(level: str, *, one_of_several: bool = False) -> None:
    """Set up structlog; the last call counts. Standard library loggers show warnings and above.

    In `one_of_several` processes that log to the same place, each line has the process's id.
    """
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            *([_with_process] if one_of_several else []),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    form = f"%(process)d:{logging.BASIC_FORMAT}" if one_of_several else logging.BASIC_FORMAT
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, format=form)


def _with_process(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.setdefault("pid", os.getpid())
    return event
