"""The service's log in the test's own process, as an operator would have it."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from app.telemetry import configure_logging

UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")


@contextmanager
def logged(level: str = "debug", **options: Any) -> Iterator[io.StringIO]:
    """What is logged while entered; what was configured before is so again afterwards."""
    root, stderr, hook = logging.getLogger(), sys.stderr, sys.excepthook
    before, config = list(root.handlers), structlog.get_config()
    levels = {name: logging.getLogger(name).level for name in (None, *UVICORN)}
    sys.stderr = text = io.StringIO()
    try:
        configure_logging(level, **options)
        yield text
    finally:
        sys.stderr, sys.excepthook = stderr, hook
        root.handlers[:] = before
        for name, level_before in levels.items():
            logging.getLogger(name).setLevel(level_before)
        structlog.configure(**config)


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """What is logged while entered stands in a file, as another process's log does."""
    config = structlog.get_config()
    with path.open("a") as file:
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(file))
        try:
            yield
        finally:
            structlog.configure(**config)
