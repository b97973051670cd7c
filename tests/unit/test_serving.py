"""Listening: one sentence where it cannot, and no 40 ms pauses where it can."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from app.serving import UNSENT_BYTES, PortBusy, listen, make_server


async def test_accepted_connections_do_not_delay_small_writes() -> None:
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listen("127.0.0.1", 0) as listener:
        async with await asyncio.start_server(look, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            assert await accepted
            writer.close()


async def test_the_kernel_keeps_little_for_a_reader_who_takes_nothing() -> None:
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.set_result(connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
        writer.close()

    with listen("127.0.0.1", 0) as listener:
        async with await asyncio.start_server(look, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            assert await accepted <= 2 * UNSENT_BYTES  # Linux counts its own in
            writer.close()


def test_a_taken_port_and_a_foreign_address_are_one_sentence_each() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortBusy, match=f"Port {port} on 127.0.0.1 is in use; .*PORT="):
            listen("127.0.0.1", port)
    with pytest.raises(PortBusy, match="Cannot listen on"):
        listen("192.0.2.1", 0)


async def test_an_impatient_second_stop_still_closes_what_the_application_opened() -> None:
    opened: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        opened.append("opened")
        yield
        opened.append("closed")

    async def end_runs() -> None:
        return None

    with listen("127.0.0.1", 0) as listener:
        server = make_server(FastAPI(lifespan=lifespan), end_runs=end_runs, drain_seconds=5)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        assert await server.is_up(serving)
        server.stop()
        server.stop()
        await serving
    assert opened == ["opened", "closed"]
