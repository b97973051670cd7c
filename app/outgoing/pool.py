"""Connections to one server: bounded, kept warm, checked before they are lent.

A connection carries one exchange at a time. It is lent again only after an answer that came whole;
after anything else, being cancelled above all, it is closed.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from app.outgoing.exchange import Broken, Exchange
from app.outgoing.guard import Resolve, resolve

MAX_CONNECTIONS = 1000
# Unused ones: so many, for so long. Vendors close theirs after 60 s and more.
MAX_IDLE = 100
IDLE_SECONDS = 60.0
CLOSE_SECONDS = 1.0  # closing takes one round of the event loop


class Unreachable(Exception):
    """No connection could be made, in time or at all."""


class Exhausted(Exception):
    """All connections are in use, and none came free in time."""


class Connection(asyncio.Protocol):
    """One connection, lent or idle. `lost` is told when it is gone."""

    __slots__ = ("_lost", "_transport", "closed", "exchange", "idle_since")

    def __init__(self, lost: Callable[["Connection"], None]) -> None:
        self.exchange: Exchange | None = None
        self.closed = False
        self.idle_since = 0.0
        self._lost = lost

    def begin(self, request: bytes, over: Callable[[Exchange], None]) -> Exchange:
        """Send a request, and have its answer go to a new exchange."""
        exchange = self.exchange = Exchange(self._flow, over)
        if self.closed:  # while it was being made
            exchange.lost(None)
        else:
            self._transport.write(request)
        return exchange

    def abort(self) -> None:
        """Close at once, whatever is on its way."""
        self.closed = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.feed(data)
        else:
            self.abort()  # an answer that nobody asked for

    def eof_received(self) -> None:
        """The other side is done; what it sends no more is judged when the connection is lost."""
        self.closed = True

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self.exchange is not None:
            self.exchange.lost(error)
        self._lost(self)

    def _flow(self, going: bool) -> None:
        if self._transport.is_closing():
            return
        if going:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()


class Pool:
    """At most `limit` connections to a host and port, with TLS where a context is given."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        limit: int = MAX_CONNECTIONS,
        connect_seconds: float,
        addresses: Resolve = resolve,
    ) -> None:
        """`connect_seconds` is how long a new connection may take, and how long one waits for its
        turn where all are in use. `tls` is called with the first connection. `addresses` is asked
        once for each, which is made to what it says and to nothing else (see `Guard.addresses`);
        what it raises but OSError comes out of `send`."""
        self._host = host
        self._port = port
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._limit = limit
        self._connect_seconds = connect_seconds
        self._addresses = addresses
        self._places = asyncio.Semaphore(limit)
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._reaper: asyncio.TimerHandle | None = None
        self._ipv6: bool | None = None  # the address that worked last
        self._in_use = self._waiting = self._acquired = self._opened = 0
        self._emptied: asyncio.Future[None] | None = None
        self._closed = self._retired = False

    async def send(self, request: bytes) -> Exchange:
        """Send a request and wait for the head of its answer. The caller closes the exchange.

        A kept connection may be closed by the server at the moment it is used again; where that
        came before a byte of an answer, the request goes once more, over a new one. Raises
        Unreachable, Exhausted, Broken; a deadline is the caller's.
        """
        exchange, reused = await self._begin(request)
        try:
            await exchange.head()
        except Broken:
            exchange.close()
            if not reused or exchange.responded:
                raise
        except BaseException:
            exchange.close()
            raise
        else:
            return exchange
        exchange, _ = await self._begin(request, fresh=True)
        try:
            await exchange.head()
        except BaseException:
            exchange.close()
            raise
        return exchange

    def statistics(self) -> dict[str, int]:
        """`size` is the most there may be; `acquired` and `opened` count since the start."""
        return {
            "size": self._limit,
            "open": len(self._open),
            "in_use": self._in_use,
            "waiting": self._waiting,
            "acquired": self._acquired,
            "opened": self._opened,
        }

    def retire(self) -> None:
        """Keep no connection beyond its exchange: idle ones are closed now, those in use at their
        end. New exchanges are still possible."""
        self._retired = True
        for connection in tuple(self._idle):
            connection.abort()

    async def aclose(self) -> None:
        """Close every connection, also those in use, and wait until they are gone."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._emptied}, timeout=CLOSE_SECONDS)

    async def _begin(self, request: bytes, *, fresh: bool = False) -> tuple[Exchange, bool]:
        """An exchange over a connection of its own, and whether that was used before."""
        await self._take_place()
        try:
            connection = None if fresh else self._kept()
            reused = connection is not None
            if connection is None:
                connection = await self._connect()
            exchange = connection.begin(request, lambda exchange: self._end(connection, exchange))
        except BaseException:
            self._places.release()
            raise
        self._in_use += 1
        self._acquired += 1
        return exchange, reused

    def _end(self, connection: Connection, exchange: Exchange) -> None:
        connection.exchange = None
        self._in_use -= 1
        over = connection.closed or self._closed or self._retired
        if over or not (exchange.complete and exchange.keep_alive):
            connection.abort()
        else:
            self._keep(connection)
        self._places.release()

    async def _take_place(self) -> None:
        if not self._places.locked():
            await self._places.acquire()  # does not wait
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(self._connect_seconds):
                await self._places.acquire()
        except TimeoutError as error:
            raise Exhausted from error
        finally:
            self._waiting -= 1

    def _kept(self) -> Connection | None:
        """The one that was used last and is still there; the others may be let go unused."""
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def _keep(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE:
            self._idle.pop(0).abort()
        if self._reaper is None:
            self._reaper = loop.call_later(IDLE_SECONDS, self._reap)

    def _reap(self) -> None:
        """Close what was not used for long. One timer for all, while there are any."""
        loop = asyncio.get_running_loop()
        self._reaper = None
        oldest = loop.time() - IDLE_SECONDS
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).abort()
        if self._idle:
            self._reaper = loop.call_at(self._idle[0].idle_since + IDLE_SECONDS, self._reap)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._emptied is not None and not self._open and not self._emptied.done():
            self._emptied.set_result(None)

    async def _connect(self) -> Connection:
        if self._closed or not self._host:
            raise Unreachable
        try:
            async with asyncio.timeout(self._connect_seconds):
                connection = await self._connect_anywhere()
        except (OSError, UnicodeError) as error:  # TimeoutError and TLS's among them
            raise Unreachable from error
        self._opened += 1
        # Not before: uvloop does not tell of the end of one whose making was cancelled.
        if not connection.closed:
            self._open.add(connection)
        return connection

    async def _connect_anywhere(self) -> Connection:
        """To the first of the host's addresses that answers. Each has its share of the time: where
        the way to one of a kind is a hole, the next one's must be left some."""
        found = await self._addresses(self._host, self._port)
        addresses = sorted(found, key=lambda each: (":" in each) != self._ipv6)
        if self._make_tls is not None and self._tls is None:
            self._tls = self._make_tls()
        share = self._connect_seconds / len(addresses)
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(share):
                    connection = await self._connect_to(address)
            except OSError:
                continue
            self._ipv6 = ":" in address
            return connection
        return await self._connect_to(addresses[-1])

    async def _connect_to(self, address: str) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            self._make,
            address,
            self._port,
            ssl=self._tls,
            server_hostname=self._host if self._tls else None,
        )
        return connection

    def _make(self) -> Connection:
        return Connection(self._forget)
