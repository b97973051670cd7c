"""One connection to Redis for everything of the question path, shared without waiting for turns.

Whoever comes writes at once; replies come in the order of the commands. What a caller who was
cancelled had asked is read and thrown away, never handed to another one. A command costs 15 µs of
this process, where a client with a pool of connections takes 250.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import hiredis
from redis._parsers.base import BaseParser
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from app.stores.patience import TURNS, Patience

CLOSED = "The connection was closed."

Command: TypeAlias = Sequence[str | bytes | int | float]


class _Asked:
    """Commands that were written together, and what has come of their replies."""

    __slots__ = ("future", "replies", "turn", "wanted")

    def __init__(self, future: "asyncio.Future[list[Any]]", wanted: int, turn: int) -> None:
        self.future = future
        self.wanted = wanted
        self.turn = turn
        self.replies: list[Any] = []


class RedisLine(asyncio.Protocol):
    """Connects when it is asked, again after the connection was lost. Close with `aclose()`."""

    def __init__(self, redis: Redis, timeout_seconds: float) -> None:
        """`redis` has the address and everything that connecting takes: TLS, user, database.
        A server that does not answer for `timeout_seconds` loses the connection."""
        self._redis = redis
        self._timeout = timeout_seconds
        self._asked: deque[_Asked] = deque()
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._connection: AbstractConnection | None = None
        self._transport: asyncio.Transport | None = None
        self._acquired = self._opened = 0

    async def ask(self, *commands: Command) -> list[Any]:
        """The replies, in one round trip. Raises the first error among them (a ResponseError),
        RedisConnectionError, OSError, or TimeoutError where the server does not answer."""
        replies = await self.replies(*commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def replies(self, *commands: Command) -> list[Any]:
        """As `ask`, with the errors among the replies in their places."""
        transport = self._transport
        if transport is None or transport.is_closing():
            transport = await self._connected()
        self._acquired += 1
        loop = asyncio.get_running_loop()
        asked = _Asked(loop.create_future(), len(commands), self._turn)
        self._asked.append(asked)
        if self._timer is None:
            self._timer = loop.call_later(self._timeout / TURNS, self._tick)
        transport.write(b"".join([_packed(each) for each in commands]))
        return await asked.future

    def statistics(self) -> dict[str, int]:
        """Of the one connection: whether it is there and in use; since the start, how often it was
        asked and opened."""
        is_open = self._transport is not None and not self._transport.is_closing()
        return {
            "size": 1,
            "open": int(is_open),
            "in_use": int(bool(self._asked)),
            "acquired": self._acquired,
            "opened": self._opened,
        }

    async def aclose(self) -> None:
        """Whoever still waits gets RedisConnectionError."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        self._lose(RedisConnectionError(CLOSED))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not ...:
                if not isinstance(reply, hiredis.PushNotification):
                    self._take(reply)
        except (RedisConnectionError, IndexError):  # no protocol, or a reply that nobody asked for
            self._lose(RedisConnectionError("The server does not speak Redis' protocol."))

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(RedisConnectionError(CLOSED))

    def _take(self, reply: Any) -> None:
        asked = self._asked[0]
        asked.replies.append(reply)
        if len(asked.replies) == asked.wanted:
            self._asked.popleft()
            if not asked.future.done():
                asked.future.set_result(asked.replies)

    async def _connected(self) -> asyncio.Transport:
        """The transport of a connection that all who come meanwhile wait for."""
        connecting = self._connecting
        if connecting is None:
            connecting = asyncio.create_task(self._connect(), name="connecting to Redis")
            self._connecting = connecting
            connecting.add_done_callback(self._has_connected)
        await asyncio.shield(connecting)
        if self._transport is None:
            raise RedisConnectionError(CLOSED)
        return self._transport

    def _has_connected(self, connecting: "asyncio.Task[None]") -> None:
        self._connecting = None
        if not connecting.cancelled():
            connecting.exception()  # those who waited have it; nobody may be left to

    async def _connect(self) -> None:
        """Let redis-py connect, which knows how, and take its connection over."""
        self._lose(RedisConnectionError(CLOSED))
        connection = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with Patience(self._timeout):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if connection._writer is None:
            raise RedisConnectionError(CLOSED)
        self._reader = hiredis.Reader(
            protocolError=RedisConnectionError,
            replyError=BaseParser.parse_error,
            notEnoughData=...,
        )
        self._connection = connection  # closes its transport when nobody holds it any more
        self._transport = cast(asyncio.Transport, connection._writer.transport)
        self._transport.set_protocol(self)
        self._opened += 1
        if self._transport.is_closing():  # before anybody could have been told
            self._lose(RedisConnectionError(CLOSED))

    def _tick(self) -> None:
        """Lose a connection whose oldest question is as old as the timeout. In turns: while this
        process is too busy to hear an answer that has come, its timer does not come round either.
        """
        self._timer = None
        if not self._asked:
            return
        self._turn += 1
        if self._turn - self._asked[0].turn > TURNS:
            self._lose(TimeoutError())
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._timeout / TURNS, self._tick)

    def _lose(self, error: Exception) -> None:
        """Part with the connection, and tell whoever waits for it."""
        lost, self._asked = self._asked, deque()
        transport, self._transport = self._transport, None
        connection, self._connection = self._connection, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if transport is not None:
            transport.abort()
        if connection is not None:
            connection._reader = connection._writer = None  # it has nothing left to close
        for asked in lost:
            if not asked.future.done():
                asked.future.set_exception(type(error)(*error.args))


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]
    return packed
