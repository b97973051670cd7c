"""A server that nobody should ask."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Canary:
    """`asked` has the first line of whatever was sent to it."""

    at: str = ""
    asked: list[str] = field(default_factory=list)

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readline()).decode(errors="replace").strip())
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()


@asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    heard = Canary()
    server = await asyncio.start_server(heard.hear, "127.0.0.1", 0)
    heard.at = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield heard
