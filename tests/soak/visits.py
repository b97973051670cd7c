"""One request over a connection of its own, which its client may leave at any moment.

An HTTP client closes connections when it sees fit; here it is the scenario that says when, with
FIN or with RST, and knows the moment to the millisecond.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tests.support.vendors import reset

PIECE = 64 * 1024


class Visit:
    """An async context manager: the request is sent on entering, the connection closed on leaving.

    `left` is when the client went away before the end (monotonic), None where it did not.
    """

    def __init__(
        self,
        url: str,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._request = _encoded(url, method, path, body, headers or {})
        self._raw = b""
        self._over = False
        self.left: float | None = None

    async def __aenter__(self) -> "Visit":
        address = urlsplit(self._url)
        self._reader, self._writer = await asyncio.open_connection(address.hostname, address.port)
        self._writer.write(self._request)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    @property
    def status(self) -> int | None:
        """None before the response has begun."""
        head, separator, _ = self._raw.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]) if separator else None

    @property
    def body(self) -> bytes:
        """What has come of it."""
        head, _, body = self._raw.partition(b"\r\n\r\n")
        return unchunked(body) if b"transfer-encoding: chunked" in head.lower() else body

    @property
    def whole(self) -> bool:
        """Whether the response came to its end as HTTP has it."""
        head, separator, body = self._raw.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head.lower():
            return body.endswith(b"0\r\n\r\n")
        return bool(separator) and self._over

    @property
    def frames(self) -> list[bytes]:
        """The events that have come whole; comments are none."""
        frames = self.body.split(b"\n\n")[:-1]
        return [each + b"\n\n" for each in frames if not each.startswith(b":")]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(each.partition(b"data: ")[2]) for each in self.frames]

    @property
    def text(self) -> str:
        """The tokens' text."""
        return "".join(each["content"] for each in self.events if each["type"] == "token")

    async def until(self, events: int) -> bool:
        """Read until so many events have come; False where the response ends before."""
        while len(self.frames) < events:
            if not await self._more():
                return False
        return True

    async def to_end(self) -> None:
        while await self._more():
            pass

    async def for_seconds(self, seconds: float) -> bool:
        """Read to the end, but for no longer than this; whether it has come."""
        try:
            async with asyncio.timeout(seconds):
                await self.to_end()
        except TimeoutError:
            return False
        return True

    def leave(self, *, abruptly: bool = False) -> None:
        """Go away now; `abruptly` is by RST, as a client's machine that fails."""
        self.left = time.monotonic()
        if abruptly:
            reset(self._writer)
        else:
            self._writer.close()

    async def _more(self) -> bool:
        if self._over or self.whole:
            return False
        try:
            piece = await self._reader.read(PIECE)
        except ConnectionError:
            piece = b""
        self._raw += piece
        self._over = not piece
        return bool(piece)


def unchunked(data: bytes) -> bytes:
    """The content of chunks, as far as they have come."""
    pieces = []
    while data:
        size, separator, rest = data.partition(b"\r\n")
        if not separator or not (length := int(size, 16)):
            break
        pieces.append(rest[:length])
        data = rest[length + 2 :]
    return b"".join(pieces)


def _encoded(url: str, method: str, path: str, body: Any, headers: Mapping[str, str]) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    fields = {
        "Host": urlsplit(url).netloc,
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **headers,
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content
