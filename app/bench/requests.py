"""A client that costs next to nothing: prepared bytes out, and the time until the answer is whole.

One connection, one request at a time. It looks at the status and for the answer's end, no more:
what is compared differs by less than an HTTP library takes.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

from app.bench.workers import WorkerFailed

TIMEOUT_SECONDS = 30.0
END_OF_CHUNKS = b"\r\n0\r\n\r\n"


class Connection(asyncio.Protocol):
    """A connection that is kept open. Get one from `connection`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: asyncio.Future[float] | None = None
        self._mark, self._marked = b"", 0.0

    async def ask(self, request: bytes, mark: bytes = b"") -> tuple[float, float]:
        """The seconds from the first byte out to the last one in; and to the last piece that has
        the mark in it, which is the last one where none has. Raises WorkerFailed."""
        assert self._transport is not None  # noqa: S101 — `connection` has connected it
        self._buffer.clear()
        self._mark, self._marked = mark, 0.0
        self._waiting = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._transport.write(request)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            ended = await self._waiting
        return ended - began, (self._marked or ended) - began

    @property
    def body(self) -> bytes:
        """Of the last answer; with its chunks' sizes where it came in chunks."""
        return bytes(self._buffer.partition(b"\r\n\r\n")[2])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # a stream's always is

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._buffer += data
        if self._mark and self._mark in data:
            self._marked = now
        if self._waiting is None or self._waiting.done() or not _whole(self._buffer):
            return
        if self._buffer.startswith(b"HTTP/1.1 2"):
            self._waiting.set_result(now)
        else:
            self._waiting.set_exception(WorkerFailed(f"It answered {bytes(self._buffer)!r:.300}"))

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error or WorkerFailed("It closed the connection."))


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[Connection]:
    """A connection to the server of an http:// address."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    host, port = parts.hostname or "", parts.port or 80
    transport, made = await loop.create_connection(Connection, host, port)
    try:
        yield made
    finally:
        transport.close()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: dict[str, Any]) -> bytes:
    content = orjson.dumps(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _whole(answer: bytearray) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return answer.endswith(END_OF_CHUNKS)
