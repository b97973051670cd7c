"""Readers in a process of their own: connections that take whatever comes and keep nothing of it.

`drain`. A line of JSON on standard input opens connections to a port of 127.0.0.1, and sends each
of them something first: `{"port": …, "count": …, "send": …}`. The line on standard output says that
they are open and, where something was sent, answered. They are closed when the process ends.
"""

import asyncio
import sys
from typing import cast

import orjson
import uvloop


class Drain(asyncio.BufferedProtocol):
    """Reads into the same few bytes again and again."""

    def __init__(self, buffer: memoryview, first: bytes) -> None:
        self._buffer = buffer
        self._first = first
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._first:
            cast(asyncio.Transport, transport).write(self._first)
        else:
            self.ready.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self.ready.done():
            self.ready.set_result(None)


async def _serve() -> None:
    buffer = memoryview(bytearray(1 << 16))
    kept: list[Drain] = []
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        task = orjson.loads(line)
        for _ in range(task["count"]):
            kept.append(await _open(task["port"], Drain(buffer, task["send"].encode())))
        await asyncio.gather(*(each.ready for each in kept))
        sys.stdout.buffer.write(orjson.dumps({"open": len(kept)}) + b"\n")
        sys.stdout.buffer.flush()


async def _open(port: int, drain: Drain) -> Drain:
    await asyncio.get_running_loop().create_connection(lambda: drain, "127.0.0.1", port)
    return drain


def main() -> None:
    """Open what standard input asks for until it ends."""
    uvloop.run(_serve())


if __name__ == "__main__":
    main()
