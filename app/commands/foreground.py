"""Serving on running servers until the server is told to stop."""

import asyncio
import shlex
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

from app.accepting import Place
from app.api.services import Services
from app.bootstrap import (
    Settings,
    build_services,
    migrate,
    seed_sample,
    with_indexer,
    with_worker,
)
from app.commands.cycles import settle
from app.main import create_app
from app.performance.ledger import Ledger
from app.serving import Server, make_server
from app.telemetry.tracing import open_tracing

MAKE_KEY = "citestream key --tenant default"


async def serve_until_stopped(
    settings: Settings,
    listener: socket.socket,
    on_server: Callable[[Server], None],
    say: Callable[[str], None],
    say_ready: Callable[[str], None],
    *,
    embedded: bool,
    place: Place | None = None,
    ledger: Ledger | None = None,
) -> None:
    """Serve on the socket; `on_server` gets the server as soon as there is one to stop, and
    `say_ready` a line for the user once it answers.

    An `embedded` database is migrated, and the first time given the sample documents. `place` is
    that among processes that share the socket, and `ledger` where they count together.
    """
    async with AsyncExitStack() as stack:
        if embedded:
            await migrate(settings)
        tracing = open_tracing(settings.otlp_endpoint)
        stack.push_async_callback(tracing.aclose)
        services = await stack.enter_async_context(build_services(settings, tracing))
        if embedded:
            await seed_sample(services, say)
        await stack.enter_async_context(with_indexer(settings))
        server = make_server(
            create_app(
                lambda: with_worker(settings, services),
                ledger=ledger,
                telemetry=tracing.http,
                origins=settings.cors_origins,
            ),
            end_runs=services.engine.close,
            drain_seconds=settings.drain_seconds,
            place=place,
        )
        on_server(server)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        if await server.is_up(serving):
            settle()
            host, port = listener.getsockname()[:2]
            say_ready(await ready_line(services, host, port))
        await serving


async def ready_line(services: Services, host: str, port: int) -> str:
    """The page's address and a request that works as it is printed; where that would need a key,
    how to make one."""
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    line = f"Citestream is ready: {address}"
    if not services.anonymous_owner:
        return f"{line}  everybody needs a key, and this makes one: {MAKE_KEY}"
    agents = await services.agents.list(await services.credentials.default_scope(), 1, None)
    if not agents.items:
        return line
    body = '{"message": "What React projects are there?"}'
    url = f"{address}/api/agents/{agents.items[0].id}/chat/stream"
    command = f"curl -N {url} -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    return f"{line}  or try: {command}"
