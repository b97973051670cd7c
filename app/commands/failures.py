"""Failures that a command explains in one sentence instead of a traceback."""

from app.bench.workers import WorkerFailed
from app.commands.workers import WorkersFailed
from app.embedded import EmbeddedError
from app.errors import AppError
from app.serving import PortBusy
from app.settings import ConfigurationError
from app.stores.migrate import MigrationFailed

EXPECTED = (
    ConfigurationError,
    EmbeddedError,
    MigrationFailed,
    PortBusy,
    WorkerFailed,
    WorkersFailed,
)


def sentence(error: Exception) -> str | None:
    """What went wrong and what to do about it; None for what nobody expected."""
    if isinstance(error, AppError):
        return error.message
    return str(error) if isinstance(error, EXPECTED) else None
