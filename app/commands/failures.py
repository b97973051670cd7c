"""Failures that a command explains in one sentence instead of a traceback."""

from app.bootstrap import ConfigurationError
from app.embedded import EmbeddedError
from app.errors import AppError
from app.serving import PortBusy
from app.stores.migrate import MigrationFailed

EXPECTED = (AppError, ConfigurationError, EmbeddedError, MigrationFailed, PortBusy)


def sentence(error: BaseException) -> str:
    """What went wrong and what to do about it."""
    return error.message if isinstance(error, AppError) else str(error)
