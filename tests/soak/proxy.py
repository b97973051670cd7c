"""A TCP proxy in front of a server, with the faults of a network: slow, silent, refusing, cut."""

import asyncio
from collections import deque
from typing import Self, cast

from tests.soak.provider import reset

# Of what waits to be passed on in one direction, beyond which nothing more is read.
WAITING_BYTES = 1 << 20


class Proxy:
    """Listens on a free `port` of 127.0.0.1 while entered, and passes on to a port of the same
    address, or to a unix socket by its path. What is public may be set at any time."""

    def __init__(self, target: int | str) -> None:
        self.target = target
        self.port = 0
        self.delay_seconds = 0.0  # of each piece, in both directions
        self.refusing = False  # new connections are reset
        self._stalled = False
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """How many connections are passed on."""
        return len(self._links)

    @property
    def stalled(self) -> bool:
        """While it is, connections stay, new ones are taken, and nothing passes, ends included."""
        return self._stalled

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        self._stalled = stalled
        for link in list(self._links):
            for side in link.sides:
                side.mind()

    def reset(self) -> int:
        """End every connection on both sides with RST; how many there were."""
        links = list(self._links)
        for link in links:
            link.cut()
        return len(links)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Side(_Link(self)), "127.0.0.1", 0, backlog=2048
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def connect(self, link: "_Link") -> None:
        """Connect what has come to the server."""
        if self.refusing:
            link.cut()
            return
        self._links.add(link)
        task = asyncio.create_task(self._reach(link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reach(self, link: "_Link") -> None:
        loop = asyncio.get_running_loop()
        try:
            if isinstance(self.target, int):
                await loop.create_connection(lambda: _Side(link), "127.0.0.1", self.target)
            else:
                await loop.create_unix_connection(lambda: _Side(link), self.target)
        except OSError:
            link.cut()

    def forget(self, link: "_Link") -> None:
        self._links.discard(link)


class _Link:
    """One connection: the client's side first, the server's once it is reached."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.sides: list[_Side] = []
        self._cut = False

    def join(self, side: "_Side") -> None:
        self.sides.append(side)
        if self._cut:  # meanwhile
            reset(side.transport)
        elif len(self.sides) == 1:
            self.proxy.connect(self)
        for each in self.sides:
            each.mind()

    def other(self, side: "_Side") -> "_Side | None":
        return next((each for each in self.sides if each is not side), None)

    def cut(self) -> None:
        self._cut = True
        self.proxy.forget(self)
        for side in self.sides:
            reset(side.transport)


class _Side(asyncio.Protocol):
    """One end of a connection. What it receives waits for its time, and for the other end."""

    transport: asyncio.Transport

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._waiting: deque[tuple[float, bytes]] = deque()  # an empty piece is the end
        self._bytes = 0
        self._other_is_full = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._link.join(self)

    def data_received(self, data: bytes) -> None:
        proxy, other = self._link.proxy, self._link.other(self)
        if other and not (self._waiting or proxy.delay_seconds or proxy.stalled):
            other.transport.write(data)  # the common case, in no time
        else:
            self._keep(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._keep(b"")

    def pause_writing(self) -> None:
        self._fill(True)

    def resume_writing(self) -> None:
        self._fill(False)

    def mind(self) -> None:
        """Do what the proxy's state and the other side allow."""
        if self._link.proxy.stalled or self._other_is_full or self._bytes > WAITING_BYTES:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()
        self._pass_on()

    def _fill(self, full: bool) -> None:
        if other := self._link.other(self):
            other._other_is_full = full
            other.mind()

    def _keep(self, data: bytes) -> None:
        due = asyncio.get_running_loop().time() + self._link.proxy.delay_seconds
        self._waiting.append((due, data))
        self._bytes += len(data)
        self.mind()

    def _pass_on(self) -> None:
        """Write what is due; come back for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        other, loop = self._link.other(self), asyncio.get_running_loop()
        if self._link.proxy.stalled or other is None:
            if self._waiting and not self._waiting[-1][1] and other is None:
                self._link.cut()  # it left before there was anybody to tell
            return
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, data = self._waiting.popleft()
            self._bytes -= len(data)
            if not data:
                other.transport.close()
                self._link.proxy.forget(self._link)
                return
            other.transport.write(data)
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self.mind)
