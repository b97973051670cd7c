"""Clients that leave, over real sockets: the run that nobody waits for any more is stopped."""

import asyncio

import pytest

from app.chat.events import Token
from tests.api.sockets import connection, request_head, serving
from tests.support.api_fakes import ANSWERED, START, World

QUESTION = b'{"message": "hi"}'


def ask(path: str) -> bytes:
    headers = ("Content-Type: application/json", f"Content-Length: {len(QUESTION)}")
    return request_head("POST", path, *headers) + QUESTION


@pytest.mark.parametrize("path", ["/api/agents/1/chat", "/api/agents/1/chat/stream"])
async def test_leaving_before_the_first_event(path: str) -> None:
    world = World()
    world.engine.script = [asyncio.Event()]
    async with serving(world.app()) as port:
        async with connection(port) as (_, writer):
            writer.write(ask(path))
            run = await world.engine.started.get()
        await asyncio.wait_for(run.stopped(), 2)
    assert run.error is not None
    assert run.error.code == "interrupted"


async def test_leaving_a_stream() -> None:
    world = World()
    world.engine.script = [START, Token("React"), asyncio.Event()]
    async with serving(world.app()) as port:
        async with connection(port) as (reader, writer):
            writer.write(ask("/api/agents/1/chat/stream"))
            await reader.readuntil(b"React")
            run = await world.engine.started.get()
            assert not run.finished
        await asyncio.wait_for(run.stopped(), 2)
    assert run._readers == 0


async def test_leaving_while_too_slow_to_read() -> None:
    """The stream is then suspended in a send, not in waiting for the next event."""
    world = World()
    world.engine.script = [START, *[Token("x" * 16_000)] * 4000, asyncio.Event()]
    async with serving(world.app()) as port:
        async with connection(port) as (reader, writer):
            writer.write(ask("/api/agents/1/chat/stream"))
            await reader.readuntil(b"start")
            run = await world.engine.started.get()
        await asyncio.wait_for(run.stopped(), 2)
    assert run._readers == 0


async def test_cancelling_a_run_ends_its_streams() -> None:
    world = World()
    world.engine.script = [START, Token("React"), asyncio.Event()]
    async with serving(world.app()) as port, connection(port) as (reader, writer):
        writer.write(ask("/api/agents/1/chat/stream"))
        await reader.readuntil(b"React")
        run = await world.engine.started.get()
        async with connection(port) as (answer, canceller):
            canceller.write(request_head("POST", f"/api/runs/{run.id}/cancel"))
            assert (await answer.readline()).startswith(b"HTTP/1.1 202")
            assert b"cancelling" in await answer.readuntil(b"}")
        assert b'"code":"interrupted"' in await reader.readuntil(b"0\r\n\r\n")


async def test_a_reader_that_comes_back_keeps_the_run_alive() -> None:
    world = World()
    go_on = asyncio.Event()
    world.engine.script = [*ANSWERED[:3], go_on, *ANSWERED[3:]]
    async with serving(world.app()) as port, connection(port) as (reader, writer):
        writer.write(ask("/api/agents/1/chat/stream"))
        await reader.readuntil(b"React is ")
        run = await world.engine.started.get()
        async with connection(port) as (second, other):
            path = f"/api/runs/{run.id}/events"
            other.write(request_head("GET", path, "Last-Event-ID: 3"))
            # The response begins although nothing has happened yet.
            assert b"text/event-stream" in await second.readuntil(b"\r\n\r\n")
            writer.close()
            go_on.set()
            rest = await second.readuntil(b"0\r\n\r\n")
    assert b"id: 3" not in rest
    assert b'"type":"done"' in rest
