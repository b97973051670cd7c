"""A language model's server at the pace that a scenario sets, and what became of each call to it.

It speaks OpenAI's stream format on 127.0.0.1, inside the soak's process, without a framework: a
thousand open calls cost little of the two cores that are shared with what is measured.
"""

import asyncio
import hashlib
import json
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, Self, cast

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WORDS = 20


class Call:
    """One request for an answer. `closed` is set when its client has left or has all of it;
    `closed_at` says when, `finished` which of the two. Times are of `time.monotonic`."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.question: str = body["messages"][-1]["content"]
        self.arrived = time.monotonic()
        self.sent = 0  # deltas
        self.finished = False
        self.closed = asyncio.Event()
        self.closed_at: float | None = None

    def close(self) -> None:
        if self.closed_at is None:
            self.closed_at = time.monotonic()
            self.closed.set()


Reply = Callable[[dict[str, Any]], Sequence[str]]


def words_of(body: dict[str, Any]) -> Sequence[str]:
    """Twenty short words that only this question's answer has."""
    digest = hashlib.sha256(body["messages"][-1]["content"].encode()).hexdigest()[:8]
    return [f"{digest} ", *(f"word{number} " for number in range(1, WORDS))]


class PacedProvider:
    """Listens on a free port while entered. Everything that is public may be set at any time; a
    call in progress minds what concerns what it has still to send."""

    def __init__(self) -> None:
        self.first_token_seconds = 0.0
        self.token_seconds = 0.0
        self.reply: Reply = words_of
        # Of the body's text, after which the connection is reset; None: it goes on to its end.
        self.cut_after_bytes: int | None = None
        self.calls: list[Call] = []
        self.url = ""
        self._arrivals = asyncio.Condition()
        self._connections: set[_Connection] = set()

    @property
    def open(self) -> int:
        """How many calls are being answered."""
        return sum(each.answering is not None for each in self._connections)

    async def arrived(self, count: int) -> None:
        """Wait until so many calls have come in all."""
        async with self._arrivals:
            await self._arrivals.wait_for(lambda: len(self.calls) >= count)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", 0, backlog=2048
        )
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        answers = [each.answering for each in self._connections if each.answering is not None]
        for connection in list(self._connections):
            connection.transport.abort()
        await asyncio.gather(*answers, return_exceptions=True)
        await self._server.wait_closed()

    async def take(self, call: Call) -> None:
        """Note a call that has come."""
        async with self._arrivals:
            self.calls.append(call)
            self._arrivals.notify_all()


class _Connection(asyncio.Protocol):
    """Answers one request after the other."""

    transport: asyncio.Transport

    def __init__(self, provider: PacedProvider) -> None:
        self.answering: asyncio.Task[None] | None = None
        self._provider = provider
        self._call: Call | None = None
        self._received = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._provider._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._provider._connections.discard(self)
        if self._call is not None:
            self._call.close()
        if self.answering is not None:
            self.answering.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self._received.clear()  # clients of a vendor do not pipeline
        self._call = Call(json.loads(body))
        self.answering = asyncio.create_task(self._answer(self._call))

    async def _answer(self, call: Call) -> None:
        await self._provider.take(call)
        try:
            if await self._sent_all(call):
                call.finished = True
            else:
                await self._reset()
        finally:
            self.answering = None
            call.close()

    async def _sent_all(self, call: Call) -> bool:
        """Write the whole answer; False where it is to be cut."""
        provider, left = self._provider, self._provider.cut_after_bytes
        deltas = provider.reply(call.body)
        pieces = [_event(call, {"content": each}) for each in deltas]
        self.transport.write(HEAD)
        for number, piece in enumerate([*pieces, _end(call, len(pieces))]):
            pace = provider.token_seconds if number else provider.first_token_seconds
            if pace and number < len(pieces):
                await asyncio.sleep(pace)
            await self._writable.wait()
            if left is not None and len(piece) >= left:
                self.transport.write(_chunk(piece[:left]))
                return False
            left = None if left is None else left - len(piece)
            self.transport.write(_chunk(piece))
            call.sent += number < len(pieces)
        self.transport.write(b"0\r\n\r\n")
        return True

    async def _reset(self) -> None:
        """End with RST, as a dying machine does, once what was written is on its way."""
        while self.transport.get_write_buffer_size():  # noqa: ASYNC110 — nobody tells
            await asyncio.sleep(0)
        reset(self.transport)


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with RST instead of FIN, where TCP is beneath it and it is open."""
    peer: socket.socket = transport.get_extra_info("socket")
    if peer.family != socket.AF_UNIX and not transport.is_closing():
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _event(call: Call, delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return _data({"model": call.body.get("model"), "choices": [choice]})


def _end(call: Call, tokens: int) -> bytes:
    usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
    return _event(call, {}, "stop") + _data({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"


def _data(event: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(event).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _length(head: bytes | bytearray) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
