"""Clients of a service in a process of their own, which look at the bytes and no more.

`clients`. A line of JSON on standard input is a task, a line on standard output its outcome:
`{"do": "ask", …}` (`Asking`) sends requests and waits for all answers. `{"do": "open", …}` (the
same fields) opens streams and leaves them open, `{"do": "watch", "seconds": …}` then measures
between their tokens, and `{"do": "close"}` ends them.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import uvloop

TIMEOUT_SECONDS = 300
TOKEN = b'"type":"token"'
END_OF_CHUNKS = b"\r\n0\r\n\r\n"
LEFT = RuntimeError("It closed the connection.")


@dataclass(frozen=True, slots=True)
class Asking:
    """`clients` connections to a port of 127.0.0.1, or to a unix socket's path, share the requests,
    each sending its next one when it has the answer to the last. `mark` is what an answer of the
    right kind has in it once.
    """

    port: int | str
    requests: list[str]
    clients: int
    mark: str


@dataclass(slots=True)
class Heard:
    """Of all clients together: seconds from each request to its first token, to its last one and
    to its end, how many tokens came and how many answers had the mark. `gaps` are the seconds
    between the tokens of a stream, where they are wanted."""

    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    tokens: int = 0
    marked: int = 0
    gaps: list[float] | None = None


class Client(asyncio.Protocol):
    """One connection. `begun` is done with its first token or where it fails, `done` with its last
    answer; it says what went wrong."""

    def __init__(self, requests: Iterator[bytes], mark: bytes, heard: Heard) -> None:
        loop = asyncio.get_running_loop()
        self._requests = requests
        self._mark = mark
        self._heard = heard
        self._sent = self._token_at = 0.0
        self._head: bytes | None = b""
        self._left: int | None = None  # of a body whose length is known
        self._tail = b""
        self.begun: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or LEFT)

    def start(self) -> None:
        """Send the next request, or be done."""
        request = next(self._requests, None)
        if request is None:
            if not self.done.done():
                self.done.set_result(None)
            return
        self._head, self._left, self._tail, self._token_at = b"", None, b"\r\n", 0.0
        self._sent = time.perf_counter()
        self._transport.write(request)

    def listen(self) -> None:
        """Count the time to the next token from now on."""
        self._token_at = time.perf_counter()

    def silence(self) -> float:
        """The seconds since the last token."""
        return time.perf_counter() - self._token_at

    def close(self) -> None:
        """Leave, in the middle of an answer or not."""
        self.done.cancel()
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._head is not None:
            self._head += data
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            length = _content_length(head)
            if not head.startswith(b"HTTP/1.1 2"):
                if len(body) >= (length or 0):  # what it says is worth waiting for
                    self._fail(RuntimeError(f"It answered {self._head!r:.400}"))
                return
            self._head, self._left, data = None, length, body
        self._take(data, now)

    def _take(self, data: bytes, now: float) -> None:
        """Some of the body. What is looked for may begin in what came before."""
        heard, tail = self._heard, self._tail
        if count := (tail[1 - len(TOKEN) :] + data).count(TOKEN):
            heard.tokens += count
            if not self._token_at:
                heard.first.append(now - self._sent)
                if not self.begun.done():
                    self.begun.set_result(None)
            elif heard.gaps is not None:
                heard.gaps.append(now - self._token_at)
            self._token_at = now
        heard.marked += (tail[1 - len(self._mark) :] + data).count(self._mark)
        self._tail = (tail + data)[-64:]
        if self._left is None:
            over = self._tail.endswith(END_OF_CHUNKS)
        else:
            self._left -= len(data)
            over = self._left <= 0
        if over:
            if self._token_at:
                heard.last.append(self._token_at - self._sent)
            heard.whole.append(now - self._sent)
            self.start()

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
        if not self.begun.done():
            self.begun.set_result(None)


class Load:
    """Does the tasks of one process, and keeps the streams that are open."""

    def __init__(self) -> None:
        self._open: list[Client] = []
        self._heard = Heard()

    async def do(self, task: dict[str, Any]) -> dict[str, Any]:
        """The task's outcome."""
        kind = task.pop("do")
        if kind == "watch":
            return await self._watch(task["seconds"])
        if kind == "close":
            return self._close()
        asking = Asking(**task)
        return await (self._ask(asking) if kind == "ask" else self._open_all(asking))

    async def _ask(self, asking: Asking) -> dict[str, Any]:
        heard = Heard()
        requests = [each.encode() for each in asking.requests]
        shares = [iter(requests[number :: asking.clients]) for number in range(asking.clients)]
        clients = [await _connect(asking, share, heard) for share in shares]
        began = time.perf_counter()
        for client in clients:
            client.start()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await asyncio.gather(*(client.done for client in clients))
        seconds = time.perf_counter() - began
        for client in clients:
            client.close()
        return {
            "seconds": seconds,
            "first": heard.first,
            "last": heard.last,
            "whole": heard.whole,
            "tokens": heard.tokens,
            "marked": heard.marked,
        }

    async def _open_all(self, asking: Asking) -> dict[str, Any]:
        """One stream for each request, `clients` of them at a time on their way to their first
        token."""
        self._heard = Heard()
        places = asyncio.Semaphore(asking.clients)

        async def open_one(request: str) -> None:
            async with places:
                client = await _connect(asking, iter([request.encode()]), self._heard)
                self._open.append(client)
                client.start()
                await client.begun
                if client.done.done():
                    client.done.result()  # raises what went wrong

        began = time.perf_counter()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await asyncio.gather(*(open_one(each) for each in asking.requests))
        return {"open": len(self._open), "seconds": time.perf_counter() - began}

    async def _watch(self, seconds: float) -> dict[str, Any]:
        heard = self._heard
        for client in self._open:
            client.listen()
        before, heard.gaps = heard.tokens, []
        await asyncio.sleep(seconds)
        gaps, heard.gaps = heard.gaps, None
        gaps += [client.silence() for client in self._open]
        ended = sum(each.done.done() for each in self._open)
        return {"gaps": gaps, "tokens": heard.tokens - before, "ended": ended}

    def _close(self) -> dict[str, Any]:
        closed, self._open = self._open, []
        for client in closed:
            client.close()
        return {"closed": len(closed)}


async def _connect(asking: Asking, requests: Iterator[bytes], heard: Heard) -> Client:
    loop = asyncio.get_running_loop()
    client = Client(requests, asking.mark.encode(), heard)
    if isinstance(asking.port, str):
        await loop.create_unix_connection(lambda: client, asking.port)
    else:
        await loop.create_connection(lambda: client, "127.0.0.1", asking.port)
    return client


def _content_length(head: bytes) -> int | None:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return None


async def _serve() -> None:
    load = Load()
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        outcome = await load.do(orjson.loads(line))
        sys.stdout.buffer.write(orjson.dumps(outcome) + b"\n")
        sys.stdout.buffer.flush()


def main() -> None:
    """Do the tasks of standard input until it ends."""
    uvloop.run(_serve())


if __name__ == "__main__":
    main()
