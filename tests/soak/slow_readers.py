"""Readers that take ten bytes a second: enough to be alive, too few to ever have it all."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import psutil

# The least that the kernel gives: what waits at the reader's side is no concern of the server's.
RECEIVE_BYTES = 4096
BYTES = 10
EVERY_SECONDS = 1.0
LOOK_SECONDS = 0.5


class SlowReader:
    """One connection. `since` is when there was something to read, `dropped` when the server had
    closed it, by `time.monotonic`."""

    def __init__(self, connection: socket.socket) -> None:
        self.since: float | None = None
        self.dropped: float | None = None
        self.held = False  # once the server has taken the connection from its queue
        self.port: int = connection.getsockname()[1]
        self._connection = connection

    def look(self) -> None:
        """Note whether there is something to read."""
        with suppress(OSError):
            if self.since is None and self._connection.recv(1, socket.MSG_PEEK):
                self.since = time.monotonic()

    def take(self) -> None:
        with suppress(OSError):
            self._connection.recv(BYTES)

    def close(self) -> None:
        self._connection.close()


async def connect(url: str, request: bytes) -> SlowReader:
    """Send a request; nothing of the answer is read yet."""
    address = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (address.hostname, address.port))
    await loop.sock_sendall(connection, request)
    return SlowReader(connection)


async def read_slowly(
    readers: Sequence[SlowReader],
    server: psutil.Process,
    look: Callable[[], Awaitable[None]],
    seconds: float,
) -> None:
    """Let them read until the server has dropped all of them, and note when; no longer than so
    many seconds. Its kernel tells the server and not the other side, so it is the server's
    connections that are looked at. `look` is called each time."""
    took = began = time.monotonic()
    while any(each.dropped is None for each in readers) and took - began < seconds:
        now = time.monotonic()
        if now - took >= EVERY_SECONDS:
            took = now
            for each in readers:
                each.take()
        held = await asyncio.to_thread(_ports_of, server)
        for each in readers:
            each.look()
            if each.port in held:
                each.held = True
            elif each.held and each.dropped is None:
                each.dropped = now
        await look()
        await asyncio.sleep(LOOK_SECONDS)


def _ports_of(server: psutil.Process) -> set[int]:
    """Whom its open connections lead to."""
    return {each.raddr.port for each in server.net_connections("tcp4") if each.raddr}
