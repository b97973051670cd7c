"""`citestream run` and `citestream serve`: the service in the foreground, until a signal."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from app.api.services import Services
from app.bootstrap import Settings, build_services, connected, seed_sample, with_worker
from app.main import create_app
from app.serving import Server, listen, make_server, signals
from app.telemetry import configure_logging

Say = Callable[[str], None]


async def run_everything(say: Say) -> None:
    """The embedded servers, the encoder, the sample documents and the API."""
    await _foreground(_everything, say)


async def serve_only(say: Say) -> None:
    """The API on servers that are already there."""
    await _foreground(_api_only, say)


@asynccontextmanager
async def _everything(settings: Settings, say: Say) -> AsyncIterator[Services]:
    async with connected(settings, say) as live, build_services(live) as services:
        if settings.database_url is None:
            await seed_sample(services, say)
        yield services


@asynccontextmanager
async def _api_only(settings: Settings, say: Say) -> AsyncIterator[Services]:
    async with build_services(settings) as services:
        yield services


async def _foreground(
    open_services: Callable[[Settings, Say], AbstractAsyncContextManager[Services]], say: Say
) -> None:
    settings = Settings()
    configure_logging(settings.log_level)
    starting = asyncio.current_task()
    server: Server | None = None

    def stop() -> None:
        if server is not None:
            server.stop()
        elif starting is not None:
            starting.cancel()

    with signals(stop), listen(settings.host, settings.port) as listener:
        async with open_services(settings, say) as services:
            application = create_app(lambda: with_worker(services))
            server = make_server(
                application, end_runs=services.engine.close, drain_seconds=settings.drain_seconds
            )
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            if await server.is_up(serving):
                host, port = listener.getsockname()[:2]
                say(await _ready_line(services, host, port))
            await serving
            say("Stopping …")


async def _ready_line(services: Services, host: str, port: int) -> str:
    """The page's address and a request that works as it is printed."""
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    line = f"Citestream is ready: {address}"
    if not services.anonymous_owner:
        return line
    agents = await services.agents.list(await services.credentials.default_scope(), 1, None)
    if not agents.items:
        return line
    body = '{"message": "What React projects are there?"}'
    url = f"{address}/api/agents/{agents.items[0].id}/chat/stream"
    command = f"curl -N {url} -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    return f"{line}  or try: {command}"
