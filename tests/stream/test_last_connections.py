"""Who has connected before the server is told to end is answered; who comes later is refused."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from app.accepting import Place
from app.serving import Server, listen, make_server
from app.shares import Shares, table

REQUEST = b"GET /here HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, socket.socket, asyncio.Task[None]]]:
    with listen("127.0.0.1", 0) as listener:
        server = server_of()
        yield server, listener, await begun(server, listener)


async def begun(server: Server, listener: socket.socket) -> asyncio.Task[None]:
    going = asyncio.create_task(server.serve(sockets=[listener]))
    assert await server.is_up(going)
    return going


def server_of(place: Place | None = None) -> Server:
    application = FastAPI()

    @application.get("/here")
    async def here() -> str:
        return "answered"

    async def nothing() -> None:
        """There are no runs to be ended."""

    return make_server(application, end_runs=nothing, drain_seconds=5, place=place)


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


async def test_of_two_that_share_a_port_each_answers_who_waits_as_it_ends() -> None:
    shares = Shares(table(2), 2)
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        listeners = [listener.dup() for _ in range(2)]  # as processes have it
    servers = [server_of(Place(shares, slot)) for slot in range(2)]
    tasks = [await begun(*each) for each in zip(servers, listeners, strict=True)]
    for server, own in zip(servers, listeners, strict=True):
        early = socket.create_connection(address)
        early.sendall(REQUEST)
        await server.shutdown([own])
        assert b"answered" in await everything(early)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    for server, going in zip(servers, tasks, strict=True):
        server.stop()
        await going
