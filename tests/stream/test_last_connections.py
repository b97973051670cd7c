"""Who has connected before the server is told to end is answered; who comes later is refused."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from app.serving import Server, listen, make_server

REQUEST = b"GET /here HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, socket.socket, asyncio.Task[None]]]:
    application = FastAPI()

    @application.get("/here")
    async def here() -> str:
        return "answered"

    async def nothing() -> None:
        """There are no runs to be ended."""

    with listen("127.0.0.1", 0) as listener:
        server = make_server(application, end_runs=nothing, drain_seconds=5)
        going = asyncio.create_task(server.serve(sockets=[listener]))
        assert await server.is_up(going)
        yield server, listener, going


async def everything(connection: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_who_waits_at_the_port_is_answered() -> None:
    async with serving() as (server, listener, going):
        address = listener.getsockname()
        early = socket.create_connection(address)  # the loop has no chance to see it before
        early.sendall(REQUEST)
        await server.shutdown([listener])
        assert b"answered" in await everything(early)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        server.stop()
        await going


async def test_who_has_not_asked_yet_may_do_so() -> None:
    async with serving() as (server, listener, going):
        early = socket.create_connection(listener.getsockname())
        silent = socket.create_connection(listener.getsockname())
        ending = asyncio.create_task(server.shutdown([listener]))
        while len(server.server_state.connections) < 2:  # noqa: ASYNC110 — nobody tells
            await asyncio.sleep(0.001)
        early.sendall(REQUEST)
        assert b"answered" in await everything(early)
        assert await everything(silent) == b""
        await ending
        server.stop()
        await going
