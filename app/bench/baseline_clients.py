"""What the yardstick (`app.bench.baseline`) talks through: as little as the protocols need."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, cast
from urllib.parse import urlsplit

import hiredis
import httptools
import orjson

from app.encoder.backend import Backend

CHAT = b"/chat/completions"


class Redis(asyncio.Protocol):
    """One connection, on which whoever comes sends without waiting for the others' answers."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(notEnoughData=...)
        self._waiting: deque[asyncio.Future[Any]] = deque()

    @classmethod
    async def connect(cls, url: str) -> "Redis":
        loop, parts = asyncio.get_running_loop(), urlsplit(url)
        if parts.scheme == "unix":
            _, redis = await loop.create_unix_connection(cls, parts.path)
        else:
            _, redis = await loop.create_connection(cls, parts.hostname or "", parts.port or 6379)
        return redis

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, *command: str | bytes) -> "asyncio.Future[Any]":
        """The answer to one command."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]
        return waiter

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not ...:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(answer)


class Vendor:
    """An OpenAI-compatible server over kept connections."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        path = parts.path.encode() + CHAT
        self._head = b"POST %b HTTP/1.1\r\nHost: %b\r\n" % (path, parts.netloc.encode())
        self._idle: list[_Upstream] = []

    async def stream(self, body: dict[str, Any]) -> AsyncIterator[list[str]]:
        """The texts of an answer, as many at a time as have come."""
        content = orjson.dumps(body)
        upstream = self._idle.pop() if self._idle else await self._connect()
        upstream.begin()
        upstream.write(
            b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (self._head, len(content), content)
        )
        try:
            while texts := await upstream.read():
                yield texts
        finally:
            if upstream.is_whole:
                self._idle.append(upstream)
            else:
                upstream.abort()

    async def _connect(self) -> "_Upstream":
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(_Upstream, self._host, self._port)
        return upstream


class _Upstream(asyncio.Protocol):
    """One connection, one answer at a time. httptools calls the `on_…` methods."""

    def __init__(self) -> None:
        self._lost = False
        self.begin()

    def begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._texts: list[str] = []
        self._rest = b""
        self._waiter: asyncio.Future[None] | None = None
        self.is_whole = False

    def write(self, request: bytes) -> None:
        self._transport.write(request)

    def abort(self) -> None:
        self._transport.abort()

    async def read(self) -> list[str]:
        """What has come since; nothing at the end. Raises ConnectionError."""
        while not self._texts:
            refused = self._parser.get_status_code() >= 400
            if self.is_whole and not refused:
                return []
            if self._lost or refused:
                raise ConnectionError("The language model's server does not answer.")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        texts, self._texts = self._texts, []
        return texts

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._wake()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        self._wake()

    def on_body(self, body: bytes) -> None:
        *lines, self._rest = (self._rest + body).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                choices = orjson.loads(line[6:])["choices"]
                if choices and (text := choices[0]["delta"].get("content")):
                    self._texts.append(text)

    def on_message_complete(self) -> None:
        self.is_whole = True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Embedder:
    """The model in a thread of this process. What is asked while it is busy goes together."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._waiting: list[tuple[str, asyncio.Future[bytes]]] = []
        self._working: asyncio.Task[None] | None = None

    async def embed(self, text: str) -> bytes:
        """The vector of a question, as float32."""
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, waiter))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await waiter

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            texts = [text for text, _ in taken]
            encoded = await asyncio.to_thread(self._backend.encode, texts, "query")
            for (_, waiter), vector in zip(taken, encoded.vectors, strict=True):
                if not waiter.done():
                    waiter.set_result(vector)
        self._working = None
