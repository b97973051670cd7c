"""Many streams at once, read in this process at next to no cost.

Whoever measures with hundreds of open streams on two cores cannot afford an HTTP client for each.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast
from urllib.parse import urlsplit

import orjson

Result = TypeVar("Result")


class Reader(asyncio.Protocol):
    """One stream on a connection of its own, from its request on. Times are of
    `time.perf_counter`; `first_token` counts from the request."""

    transport: asyncio.Transport

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self.raw = bytearray()
        self.asked = 0.0
        self.first_token: float | None = None
        self.begun: asyncio.Future[None] = loop.create_future()  # or over
        self.over: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.asked = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.raw += data
        if self.first_token is None and b'"type":"token"' in self.raw:
            self.first_token = time.perf_counter() - self.asked
            self.begun.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        for each in (self.begun, self.over):
            if not each.done():
                each.set_result(None)

    @property
    def ended(self) -> str | None:
        """How the answer says that it ended, `done` or an error's code; None where it does not."""
        events = self.events()
        if not events or events[-1]["type"] not in ("done", "error"):
            return None
        return str(events[-1].get("code") or events[-1]["type"])

    @property
    def text(self) -> str:
        return "".join(each["content"] for each in self.events() if each["type"] == "token")

    def events(self) -> list[dict[str, object]]:
        """What has come; each is within one chunk, so a chunk's head is never inside of one."""
        lines = bytes(self.raw).split(b"\n")
        return [orjson.loads(each[5:]) for each in lines[:-1] if each.startswith(b"data:")]


async def read(url: str, agent: int, message: str, **body: object) -> Reader:
    """Ask for a stream; returns when that is sent."""
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    request = request_of(url, agent, message, **body)
    _, reader = await loop.create_connection(
        lambda: Reader(request), address.hostname, address.port
    )
    return reader


def request_of(
    url: str, agent: int, message: str, *, connection: str = "close", **body: object
) -> bytes:
    """The bytes of a request for a stream. With `connection` as it is, its end is that of the
    connection."""
    content = orjson.dumps({"message": message, **body})
    head = (
        f"POST /api/agents/{agent}/chat/stream HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Content-Type: application/json\r\nConnection: {connection}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def at_once(limit: int, calls: Sequence[Callable[[], Awaitable[Result]]]) -> list[Result]:
    """What the calls come to, in their order, so many at a time."""
    places = asyncio.Semaphore(limit)

    async def one(call: Callable[[], Awaitable[Result]]) -> Result:
        async with places:
            return await call()

    return await asyncio.gather(*(one(each) for each in calls))
