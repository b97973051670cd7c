"""Servers that agents are sent to, which keep every byte that they hear."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import uuid4

MARK = "sk-planted-"
PLANTED = re.compile(rb"sk-planted-[0-9a-f]{32}")
WORDS = ("Yes", ", ", "here.")


def new_key() -> str:
    """One that is nobody else's, and that is known wherever it is met."""
    return f"{MARK}{uuid4().hex}"


@dataclass(frozen=True, slots=True)
class Heard:
    """One request, with the key that came with it."""

    key: str
    text: str


@dataclass
class Ear:
    """Answers every request with a short stream of tokens, or sends it on to `redirect`."""

    url: str = ""
    redirect: str | None = None
    raw: bytearray = field(default_factory=bytearray)
    heard: list[Heard] = field(default_factory=list)

    def planted(self) -> list[str]:
        """Every key of an agent's that came, wherever in a request it stood."""
        return [each.decode() for each in PLANTED.findall(bytes(self.raw))]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1]) if length else 0)
                self.raw += head + body
                key = re.search(rb"authorization: *bearer (\S+)", head, re.IGNORECASE)
                self.heard.append(Heard(key[1].decode() if key else "", body.decode()))
                writer.write(self._answer())
                await writer.drain()
        writer.close()

    def _answer(self) -> bytes:
        if self.redirect is not None:
            head = f"HTTP/1.1 307 Elsewhere\r\nLocation: {self.redirect}\r\n"
            return f"{head}Content-Length: 0\r\n\r\n".encode()
        events = [{"index": 0, "delta": {"content": word}} for word in WORDS]
        events.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        lines = [f"data: {json.dumps({'choices': [each]})}\n\n" for each in events]
        body = "".join([*lines, "data: [DONE]\n\n"]).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(body)}"
        return f"{head}\r\n\r\n".encode() + body


@asynccontextmanager
async def ear() -> AsyncIterator[Ear]:
    """One that listens on 127.0.0.1."""
    made = Ear()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield made
    finally:
        server.close()
