"""An application on a real socket of this machine, for what only a socket shows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.serving import listen, make_server


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[int]:
    """The port on 127.0.0.1 at which the application answers while the block runs."""

    async def nothing_to_end() -> None:
        pass

    with listen("127.0.0.1", 0) as listener:
        server = make_server(app, end_runs=nothing_to_end, drain_seconds=1)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        assert await server.is_up(task)
        try:
            yield listener.getsockname()[1]
        finally:
            server.stop()
            await task


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection: what is sent is exactly what the test writes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


def request_head(method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
    return "\r\n".join(lines).encode()
