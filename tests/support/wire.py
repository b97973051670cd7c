"""HTTP over a bare socket: the bytes that are written are those that are sent."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11
import orjson

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Reply:
    """A whole answer; the headers' names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


async def exchange(
    url: str, method: str, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> Reply:
    """Send one request on a connection of its own and read the answer to its end."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    fixed = [
        (b"Host", address.netloc.encode()),
        (b"Connection", b"close"),
        (b"Content-Length", str(len(body)).encode()),
    ]
    lines = [b"%b: %b" % header for header in (*fixed, *headers)]
    head = [method.encode() + b" " + target + b" HTTP/1.1", *lines, b"", b""]
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            writer.write(b"\r\n".join(head) + body)
            await writer.drain()
            return parse(method, await reader.read(-1))
    finally:
        writer.close()


def parse(method: str, received: bytes) -> Reply:
    """The one answer in what a server sent before it closed the connection."""
    connection = h11.Connection(h11.CLIENT)
    # What was really sent may be more than h11 would; it only has to know the method.
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "any")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(received)
    connection.receive_data(b"")
    status, headers, body = 0, {}, b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
    return Reply(status, headers, body)
