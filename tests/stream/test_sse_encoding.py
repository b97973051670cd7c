"""The bytes of a stream, its heartbeat, and that whatever ends it closes the run's events."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from app.api.sse import EventStream, decode, frame
from app.chat.events import Event, Failed, Token
from app.chat.model import MAX_EVENT_CHARS
from tests.support.api_fakes import DONE, SOURCES, START

HTTP = {"type": "http", "asgi": {"spec_version": "2.3"}}


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (Token("a"), '{"type":"token","content":"a"}'),
        (Token("a\nb\r\n\rc"), '{"type":"token","content":"a\\nb\\r\\n\\rc"}'),
        (Token("\n\ndata: x\n\n"), '{"type":"token","content":"\\n\\ndata: x\\n\\n"}'),
        (
            Token("a\u2028\u2029\x85é😀"),
            '{"type":"token","content":"a\\u2028\\u2029\\u0085é😀"}',
        ),
        (Token('\0\x1b"\\'), '{"type":"token","content":"\\u0000\\u001b\\"\\\\"}'),
        (Token("\ud83d"), '{"type":"token","content":"\\ud83d"}'),
        (
            Failed("interrupted", "It was stopped.", False, 409),
            '{"type":"error","code":"interrupted","message":"It was stopped.","retryable":false}',
        ),
    ],
)
def test_a_frame_is_one_id_line_and_one_data_line(event: Event, data: str) -> None:
    assert frame(7, event) == f"id: 7\ndata: {data}\n\n".encode()
    assert frame(7, event).decode().splitlines() == ["id: 7", f"data: {data}", ""]
    assert decode(frame(7, event)) == event or isinstance(event, Failed)


@pytest.mark.parametrize("character", ["a", "😀", "\x00", "\u2028", "\ud83d", '"'])
def test_no_token_outgrows_its_frame(character: str) -> None:
    assert len(frame(10**6, Token("\ud83d" + character * (MAX_EVENT_CHARS - 1)))) < 16 * 1024


@pytest.mark.parametrize("event", [START, SOURCES, DONE])
def test_larger_events_are_one_line_too(event: Event) -> None:
    encoded = frame(1, event)
    assert encoded.splitlines()[0] == b"id: 1"
    assert encoded.count(b"\n") == 3
    assert b"\r" not in encoded
    assert json.loads(encoded.splitlines()[1].removeprefix(b"data: "))["type"]


class Events:
    """A run's frames, which wait at an asyncio.Event and note when they are closed."""

    def __init__(self, steps: Sequence[Event | asyncio.Event]) -> None:
        self.closed = False
        self._steps = iter(steps)
        self._number = 0

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> bytes:
        for step in self._steps:
            if not isinstance(step, asyncio.Event):
                self._number += 1
                return frame(self._number, step)
            await step.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await asyncio.sleep(0)  # closing may have to wait for something
        self.closed = True


class Client:
    """The server's side of a connection: what was sent, and a departure on demand."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.grew = asyncio.Event()
        self.left = asyncio.Event()
        self.stalled = False

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.sent.append(message["body"])
            self.grew.set()
            if self.stalled:
                await asyncio.Event().wait()

    async def has(self, count: int) -> None:
        while len(self.sent) < count:
            self.grew.clear()
            await self.grew.wait()


async def test_a_comment_goes_out_in_silence_and_the_events_go_on() -> None:
    go_on = asyncio.Event()
    events, client = Events([Token("a"), go_on, Token("b")]), Client()
    response = EventStream(events, heartbeat_seconds=0.01)
    streaming = asyncio.create_task(response(HTTP, client.receive, client.send))
    await asyncio.wait_for(client.has(3), 2)
    go_on.set()
    await asyncio.wait_for(streaming, 2)
    assert client.sent[0] == frame(1, Token("a"))
    assert set(client.sent[1:-2]) == {b":\n\n"}
    assert client.sent[-2:] == [frame(2, Token("b")), b""]
    assert events.closed


async def test_no_comment_where_there_is_no_silence() -> None:
    events, client = Events([Token("a")] * 1000), Client()
    await EventStream(events)(HTTP, client.receive, client.send)
    assert client.sent == [frame(n, Token("a")) for n in range(1, 1001)] + [b""]


@pytest.mark.parametrize("stalled", [False, True])
async def test_a_client_that_leaves_closes_the_events(stalled: bool) -> None:
    events, client = Events([Token("a"), Token("b"), asyncio.Event()]), Client()
    client.stalled = stalled
    response = EventStream(events)
    streaming = asyncio.create_task(response(HTTP, client.receive, client.send))
    await asyncio.wait_for(client.has(1 if stalled else 2), 2)
    client.left.set()
    with pytest.raises(ClientDisconnect):
        await asyncio.wait_for(streaming, 2)
    assert events.closed


async def test_a_server_that_stops_closes_the_events() -> None:
    events, client = Events([Token("a"), asyncio.Event()]), Client()
    response = EventStream(events)
    streaming = asyncio.create_task(response(HTTP, client.receive, client.send))
    await asyncio.wait_for(client.has(1), 2)
    streaming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(streaming, 2)
    assert events.closed


async def test_events_are_closed_though_nothing_could_be_sent() -> None:
    events, client = Events([Token("a"), asyncio.Event()]), Client()

    async def broken(message: Any) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await EventStream(events)(HTTP, client.receive, broken)
    assert events.closed
