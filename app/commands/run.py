"""`citestream run` and `citestream serve`: the service in the foreground, until a signal.

Light to import: the servers start first, and `app.commands.foreground` with everything behind it
is imported while the encoder loads its model.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from app.serving import Server, listen, signals
from app.settings import Settings
from app.telemetry import configure_logging
from app.zero_setup import servers

Say = Callable[[str], None]


async def run_everything(say: Say) -> None:
    """The embedded servers, the encoder, the sample documents and the API."""
    await _foreground(servers, say)


async def serve_only(say: Say) -> None:
    """The API on servers that are already there."""
    await _foreground(_as_configured, say)


@asynccontextmanager
async def _as_configured(settings: Settings, say: Say) -> AsyncIterator[Settings]:
    yield settings


async def _foreground(
    open_servers: Callable[[Settings, Say], AbstractAsyncContextManager[Settings]], say: Say
) -> None:
    settings = Settings()
    configure_logging(settings.log_level)
    starting = asyncio.current_task()
    running: list[Server] = []

    def stop() -> None:
        if running:
            running[0].stop()
        elif starting is not None:
            starting.cancel()

    with signals(stop), listen(settings.host, settings.port) as listener:
        async with open_servers(settings, say) as live:
            from app.commands.foreground import serve_until_stopped

            embedded = live is not settings
            await serve_until_stopped(live, listener, running.append, say, embedded=embedded)
