"""Clients of the encoder in a process of their own, so that they never share its event loop.

A line of JSON on standard input is a task (`Task`), a line on standard output its outcome. The
clients write prepared bytes and look for the end of each answer, no more: two cores are shared
with what is measured.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson

TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Task:
    """Each of `clients` connections to the unix socket of `url` sends its share of the texts, one
    a request, one after the other."""

    url: str
    texts: list[str]
    clients: int
    input_type: str = "query"


class Client(asyncio.Protocol):
    """One connection that sends its requests in turn; `done` when the last is answered."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = iter(requests)
        self._sent = 0.0
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.times: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 — a stream's always is
        self._transport = transport

    def start(self) -> None:
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._fail(RuntimeError(f"The encoder answered {bytes(self._buffer)!r:.300}"))
            return
        self.times.append(time.perf_counter() - self._sent)
        self._buffer.clear()
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionError("The encoder closed the connection."))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def _next(self) -> None:
        assert self._transport is not None  # noqa: S101 — start() comes after the connection
        request = next(self._requests, None)
        if request is not None:
            self._sent = time.perf_counter()
            self._transport.write(request)
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


async def load(task: Task) -> dict[str, Any]:
    """Run a task: seconds from the first request to the last answer, and those of each."""
    shares = [task.texts[number :: task.clients] for number in range(task.clients)]
    prepared = [[_request(text, task.input_type) for text in share] for share in shares]
    clients = [await _connect(task.url, requests) for requests in prepared]
    start = time.perf_counter()
    for client in clients:
        client.start()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*(client.done for client in clients))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "times": [each for client in clients for each in client.times]}


async def _connect(url: str, requests: list[bytes]) -> Client:
    loop = asyncio.get_running_loop()
    path = unquote(url.removeprefix("unix://"))
    _, client = await loop.create_unix_connection(lambda: Client(requests), path)
    return client


def _request(text: str, input_type: str) -> bytes:
    body = orjson.dumps({"input": text, "input_type": input_type, "encoding_format": "base64"})
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: encoder\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _length(head: bytes | bytearray) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def main() -> None:
    """Do the tasks of standard input until it ends."""
    for line in sys.stdin.buffer:
        outcome = asyncio.run(load(Task(**orjson.loads(line))))
        sys.stdout.buffer.write(orjson.dumps(outcome) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
