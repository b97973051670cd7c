"""`citestream run` and `citestream serve`: the service in the foreground, until a signal.

Light to import: the servers start first, and `app.commands.foreground` with everything behind it
is imported while the encoder loads its model.
"""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from app.commands.cycles import put_off
from app.commands.ending import Ending
from app.production import refuse_in_production
from app.serving import listen, signals
from app.settings import Settings
from app.settings.secrets import secrets_of
from app.telemetry import configure_logging
from app.zero_setup import servers

# What a worker has beyond the drain time, to close everything; who takes longer hangs.
CLOSE_SECONDS = 10.0
SERVICE = "app.commands.foreground"

Say = Callable[[str], None]

log = structlog.get_logger(__name__)


async def run_everything(say: Say, workers: int | None = None, profile: str | None = None) -> None:
    """The embedded servers, the encoder, the sample documents and the API."""
    await _foreground(_embedded, say, workers, profile)


async def serve_only(say: Say, workers: int | None = None, profile: str | None = None) -> None:
    """The API on servers that are already there."""
    await _foreground(_as_configured, say, workers, profile)


@asynccontextmanager
async def _embedded(settings: Settings, say: Say) -> AsyncIterator[Settings]:
    here = settings.workers == 1  # otherwise it is others who import what serves
    async with servers(settings, say, meanwhile=SERVICE if here else None) as live:
        yield live


@asynccontextmanager
async def _as_configured(settings: Settings, say: Say) -> AsyncIterator[Settings]:
    yield settings


async def _foreground(
    open_servers: Callable[[Settings, Say], AbstractAsyncContextManager[Settings]],
    say: Say,
    workers: int | None,
    profile: str | None,
) -> None:
    given = {"workers": workers, "profile": profile}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    configure_logging(settings.log_level, secrets=secrets_of(settings))
    if settings.workers == 1:
        put_off()
    ending = Ending()
    with ending.awaited(), signals(ending.stop):
        await refuse_in_production(settings)
        with listen(settings.host, settings.port) as listener:
            if settings.profile is not None:
                log.info("profile", named=settings.profile, workers=settings.workers)
            async with open_servers(settings, say) as live:
                configure_logging(live.log_level, secrets=secrets_of(live))
                serve = _serve_here if live.workers == 1 else _serve_in_workers
                await serve(live, listener, ending, say, embedded=live is not settings)
                say("Stopping …")
    if ending.came_early:
        say("Stopped before it was ready.")


async def _serve_here(
    settings: Settings, listener: socket.socket, ending: Ending, say: Say, *, embedded: bool
) -> None:
    from app.commands.foreground import serve_until_stopped

    await serve_until_stopped(settings, listener, ending.serves, say, say, embedded=embedded)


async def _serve_in_workers(
    settings: Settings, listener: socket.socket, ending: Ending, say: Say, *, embedded: bool
) -> None:
    from app.commands.worker import starter
    from app.commands.workers import Patience, Workers
    from app.shares import Shares, table

    count, descriptor = settings.workers, table(settings.workers)
    start = starter(settings, listener, descriptor, embedded=embedded)
    patience = Patience(end=settings.drain_seconds + CLOSE_SECONDS)
    workers = Workers(count, start, listener, Shares(descriptor, count), say, patience)
    ending.serves(workers)
    await workers.run()
