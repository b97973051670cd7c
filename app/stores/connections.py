"""Connections of an asyncpg pool, lent in less time than a query takes."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

import asyncpg

from app.errors import DatabaseUnavailable

# A client whose machine or network is gone says nothing, and neither does one that is killed while
# the server works for it: without these its session would keep its locks for hours, or for ever.
ABANDONED = {
    "idle_in_transaction_session_timeout": "60s",
    "client_connection_check_interval": "10s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


class NoConnectionFree(DatabaseUnavailable):
    """All connections to the database are in use just now; try again shortly."""


class Prepared:
    """Prepares each connection that is opened, and counts them: for asyncpg's pools, as `init`."""

    def __init__(self, prepare: Callable[[asyncpg.Connection], Awaitable[None]]) -> None:
        self._prepare = prepare
        self.count = 0

    async def __call__(self, connection: asyncpg.Connection) -> None:
        self.count += 1
        await self._prepare(connection)


class Connections:
    """Lends each connection to one user at a time.

    Those that come back whole are kept at hand, or go straight to whoever has waited longest: the
    pool's own lending and cleaning takes as long as a small query (0.04 ms). Making connections,
    how many there may be, replacing those that broke and what is still running on those that were
    cut off are left to the pool.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        opened: Prepared,
        timeout_seconds: float,
        waited: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`opened` is what prepares the pool's; `waited` is told for how many seconds somebody
        waited for a connection."""
        self._pool = pool
        self._opened = opened
        self._waited = waited
        self._timeout = timeout_seconds
        self._at_hand: list[asyncpg.Connection] = []
        self._acquired = 0
        # Who waits for one that is lent: it is handed on, or None tells to ask the pool.
        self._queue: deque[asyncio.Future[asyncpg.Connection | None]] = deque()
        self._waiting = 0  # those at the pool among them
        self._at_pool = 0
        self._closing = False

    async def take(self) -> asyncpg.Connection:
        """A connection, to be given back. Raises what asyncpg does, NoConnectionFree where all stay
        lent for the timeout."""
        while self._at_hand:
            connection = self._at_hand.pop()
            if _is_open(connection):
                self._acquired += 1
                return connection
            await self._release(connection)
        self._waiting += 1
        began = time.perf_counter()
        try:
            connection = await self._one_to_come()
            self._acquired += 1
            return connection
        finally:
            self._waiting -= 1
            self._waited(time.perf_counter() - began)

    async def give_back(self, connection: asyncpg.Connection, *, whole: bool) -> None:
        """`whole`: its last statement came to an end. While someone waits at the pool, it goes
        there: so nobody waits beside one that is at hand, or is overtaken."""
        if whole and not (self._at_pool or self._closing or connection.is_in_transaction()):
            await self._hand_on(connection)
        else:
            await self._release(connection)

    def statistics(self) -> dict[str, int]:
        """How many there may be, are, are lent, and are waited for; and since the start, how often
        one was lent and how many were opened for it."""
        opened = self._pool.get_size()
        idle = self._pool.get_idle_size() + len(self._at_hand)
        return {
            "size": self._pool.get_max_size(),
            "open": opened,
            "in_use": opened - idle,
            "waiting": self._waiting,
            "acquired": self._acquired,
            "opened": self._opened.count,
        }

    async def _one_to_come(self) -> asyncpg.Connection:
        """The next one that is given back, or one of the pool's where it has or may open one."""
        waits = self._all_are_lent() and not self._closing
        connection = await self._handed_on() if waits else None
        return await self._of_pool() if connection is None else connection

    async def _handed_on(self) -> asyncpg.Connection | None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[asyncpg.Connection | None] = loop.create_future()
        self._queue.append(waiter)
        timer = loop.call_later(self._timeout, _expire, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # Cancelled when it had just been served: it is the next one's turn.
                if (connection := waiter.result()) is None:
                    self._tell_next()
                else:
                    await asyncio.shield(self._hand_on(connection))
            raise
        finally:
            timer.cancel()

    async def _of_pool(self) -> asyncpg.Connection:
        self._at_pool += 1
        try:
            return await self._pool.acquire(timeout=self._timeout)
        except BaseException as error:
            self._tell_next()  # it does not come: the next one may try
            if isinstance(error, TimeoutError) and self._all_are_lent():
                raise NoConnectionFree from error
            raise  # it is the server that did not answer
        finally:
            self._at_pool -= 1

    def _all_are_lent(self) -> bool:
        lent = self._pool.get_size() - self._pool.get_idle_size()
        return bool(lent >= self._pool.get_max_size())

    async def _hand_on(self, connection: asyncpg.Connection) -> None:
        """To whoever has waited longest, else it is kept at hand."""
        if self._closing or not _is_open(connection):
            await self._release(connection)
        elif (waiter := self._next()) is not None:
            waiter.set_result(connection)
        else:
            self._at_hand.append(connection)

    async def _release(self, connection: asyncpg.Connection) -> None:
        """To the pool, which has one to lend now."""
        try:
            await self._pool.release(connection)
        finally:
            self._tell_next()

    def _tell_next(self) -> None:
        if (waiter := self._next()) is not None:
            waiter.set_result(None)

    def _next(self) -> "asyncio.Future[asyncpg.Connection | None] | None":
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                return waiter
        return None

    async def close(self) -> None:
        """Close all of them; those that are lent are cut off after the timeout."""
        self._closing = True
        while self._queue:
            self._tell_next()  # the pool says that it is closed
        try:
            async with asyncio.timeout(self._timeout):
                while self._at_hand:
                    await self._pool.release(self._at_hand.pop())
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


def _expire(waiter: "asyncio.Future[asyncpg.Connection | None]") -> None:
    if not waiter.done():
        waiter.set_exception(NoConnectionFree())


def _is_open(connection: asyncpg.Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:  # it broke, and the pool has taken it back
        return False
