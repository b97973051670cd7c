"""A server that answers as vendors of language models do, at a pace, without a framework or a task
for a call: a thousand open ones cost little of the cores that are shared with what is measured.

A server says what an answer is made of and hears what became of it (`Vendor`); connections answer
one request after the other.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import orjson

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
REFUSED = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
# Of one write at full speed. One token each would measure this process's system calls.
AT_ONCE = 16


@dataclass(eq=False)
class Answer:
    """What is sent: `pieces` one after the other, the first after `first` seconds and each other
    `pace()` seconds after the one before, then `end`. Both are chunks already. `held`: nothing
    after the first piece until it is let go. `cut`: the connection is reset behind `end`."""

    pieces: Sequence[bytes]
    end: bytes
    first: float = 0.0
    pace: Callable[[], float] = lambda: 0.0
    held: bool = False
    cut: bool = False
    sent: int = 0  # pieces, until now

    def over(self, *, whole: bool) -> None:
        """All of it is sent, or its client has left or was cut off before."""


class Vendor(Protocol):
    """What the connections share."""

    def answer(self, body: dict[str, Any]) -> Answer | None:
        """To a request's body; None refuses it."""

    def hold(self, connection: "Connection") -> None:
        """The answer of a connection is held behind its first piece."""

    def connected(self, connection: "Connection") -> None: ...

    def left(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """Answers one request after the other."""

    def __init__(self, vendor: Vendor) -> None:
        self.answer: Answer | None = None  # that is being sent
        self._vendor = vendor
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._received = bytearray()
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        self._writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._vendor.connected(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        answer, self.answer = self.answer, None
        if answer is not None:
            answer.over(whole=False)
        self._vendor.left(self)
        self.gone.set_result(None)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._timer is None and self.answer is not None and self.answer.sent:
            self._go_on()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < content_length(head):
            return
        self._received.clear()  # nobody sends the next request before the answer
        self.answer = answer = self._vendor.answer(orjson.loads(body))
        if answer is None:
            self.transport.write(REFUSED)
        elif answer.first:
            self.transport.write(HEAD)
            self._timer = self._loop.call_later(answer.first, self._begin, b"")
        else:
            self._timer = self._loop.call_soon(self._begin, HEAD)

    def let_go(self, share: float) -> None:
        """Send the rest of what is held, with the next piece after a share of the time between
        two."""
        if (answer := self.answer) is None:
            return
        answer.held = False
        self._due = self._loop.time() - answer.pace() * (1 - share)
        self._go_on()

    def _begin(self, head: bytes) -> None:
        """The first token comes alone, as everybody's does."""
        answer, self._timer = self._current(), None
        self.transport.write(head + b"".join(answer.pieces[:1]))
        answer.sent = min(1, len(answer.pieces))
        self._due = self._loop.time()
        if answer.held and len(answer.pieces) > 1:
            self._vendor.hold(self)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """What comes next, when it is due and as soon as the other side takes it."""
        answer = self._current()
        if answer.held or not self._writable:
            return
        if answer.sent >= len(answer.pieces):
            self._end()
        elif pace := answer.pace():
            self._due += pace  # which does not move when one was late
            self._timer = self._loop.call_at(self._due, self._write, 1)
        else:
            self._timer = self._loop.call_soon(self._write, AT_ONCE)

    def _write(self, count: int) -> None:
        """A few pieces, and the next few when the others have had their turn."""
        answer, self._timer = self._current(), None
        start, answer.sent = answer.sent, min(answer.sent + count, len(answer.pieces))
        self.transport.write(b"".join(answer.pieces[start : answer.sent]))
        self._go_on()

    def _end(self) -> None:
        answer = self._current()
        self.transport.write(answer.end)
        if answer.cut:
            self._reset()
        else:
            self.answer = None
            answer.over(whole=True)

    def _reset(self) -> None:
        """End with RST, as a dying machine does, once what was written is on its way."""
        if self.transport.get_write_buffer_size():
            self._timer = self._loop.call_soon(self._reset)
        else:
            reset(self.transport)

    def _current(self) -> Answer:
        assert self.answer is not None  # noqa: S101 — timers end with it
        return self.answer


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with RST instead of FIN, where TCP is beneath it and it is open."""
    peer: socket.socket = transport.get_extra_info("socket")
    if peer.family != socket.AF_UNIX and not transport.is_closing():
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


LAST_CHUNK = b"0\r\n\r\n"


def content_length(head: bytes | bytearray) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
