"""Readers whose credential is revoked, over real sockets."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app.api.revocation import Revocation
from app.api.sse import EventStream
from app.chat.events import Token
from app.chat.model import Claim, Scope
from tests.api.sockets import connection, request_head, serving
from tests.support.api_fakes import START, World

QUESTION = b'{"message": "hi"}'
ASK = (
    request_head(
        "POST",
        "/api/agents/1/chat/stream",
        "Authorization: Bearer member",
        "Content-Type: application/json",
        f"Content-Length: {len(QUESTION)}",
    )
    + QUESTION
)


async def nobody(claims: Sequence[Claim]) -> Sequence[Scope | None]:
    return [None] * len(claims)


@pytest.fixture
def world() -> World:
    return World(revocation=Revocation(nobody))


async def test_the_stream_ends_with_one_error_behind_what_was_said(world: World) -> None:
    world.engine.script = [START, Token("React"), asyncio.Event()]
    async with serving(world.app()) as port, connection(port) as (reader, writer):
        writer.write(ASK)
        said = await reader.readuntil(b'"content":"React"}\n\n')
        run = await world.engine.started.get()
        await world.revocation.look()
        rest = await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
        await asyncio.wait_for(run.stopped(), 10)
    assert said.count(b"\nid: ") == 2
    assert rest.count(b"id: ") == 1 and b'id: 3\ndata: {"type":"error","code":"unauth' in rest
    assert run._readers == 0


class Endless:
    """Frames of a run that never ends."""

    position = 0
    closed = False

    def __aiter__(self) -> "Endless":
        return self

    async def __anext__(self) -> bytes:
        self.position += 1
        return b"id: %d\n\n" % self.position

    async def aclose(self) -> None:
        self.closed = True


async def test_one_who_takes_nothing_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.sse.LAST_WORDS_SECONDS", 0.01)
    frames, stuck = Endless(), asyncio.Event()
    stream = EventStream(frames, world.revocation.grant(Claim(b"member"), Scope(1)))

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            stuck.set()
            await asyncio.Event().wait()

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    streaming = asyncio.create_task(stream({"type": "http"}, receive, send))
    await stuck.wait()
    await world.revocation.look()
    with pytest.raises(ClientDisconnect):
        await asyncio.wait_for(streaming, 10)
    assert frames.closed


async def test_one_who_leaves_at_that_moment_is_no_error(world: World) -> None:
    world.engine.script = [START, Token("React"), asyncio.Event()]
    async with serving(world.app()) as port:
        async with connection(port) as (reader, writer):
            writer.write(ASK)
            await reader.readuntil(b"React")
        run = await world.engine.started.get()
        await world.revocation.look()
        await asyncio.wait_for(run.stopped(), 10)
    assert run._readers == 0
