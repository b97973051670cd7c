"""The engine for a Python program, on servers of its own where none are configured."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.bootstrap.schema import migrate
from app.bootstrap.services import build_services
from app.chat.engine import Engine
from app.settings import Settings
from app.zero_setup import servers


@asynccontextmanager
async def open_engine(settings: Settings | None = None) -> AsyncIterator[Engine]:
    """The engine for a Python program.

    Without a DATABASE_URL it starts (or joins) the embedded servers of the data folder, and stops
    at the end what it started.
    """
    async with (
        connected(settings or Settings()) as live,
        build_services(live) as services,
    ):
        yield services.engine


@asynccontextmanager
async def connected(
    settings: Settings, on_progress: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Settings]:
    """Settings whose database, Redis and encoder are running, migrated and prepared."""
    async with servers(settings, on_progress) as live:
        if settings.database_url is None:
            await migrate(live)
        yield live
