"""Clients of Redis that know a dead connection when they see one."""

from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from app.stores.sentinel import SCHEME, sentinel_pool

CLOSED = "The connection was closed."


def open_redis(url: str, **options: Any) -> Redis:
    """A client that never tries again by itself; `options` are those of `Redis.from_url`. An
    address of Sentinel's (`app.stores.sentinel`) is that of the master."""
    options["retry"] = Retry(NoBackoff(), 0)
    if url.startswith(f"{SCHEME}:"):
        redis = Redis.from_pool(sentinel_pool(url, **options))
    else:
        redis = Redis.from_url(url, **options)
    pool = redis.connection_pool
    pool.connection_class = _watchful(pool.connection_class)
    return redis


def _watchful(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same connections, of TCP, TLS or a unix socket.

    redis-py lends connections again that were closed or reset while they lay in its pool: after a
    restart of Redis each of them would fail somebody once. And uvloop refuses to write to one that
    was reset with a RuntimeError, which is no bug of the caller's but a Redis that is away.
    """

    class Watchful(kind):  # type: ignore[misc, valid-type]
        async def can_read(self) -> bool:
            """The pool asks this before it lends the connection, and replaces it if it raises."""
            if self._writer is not None and (
                self._writer.transport.is_closing() or self._reader.at_eof()
            ):
                raise RedisConnectionError(CLOSED)
            return bool(await super().can_read())

        async def send_packed_command(
            self, command: bytes | str | Iterable[bytes], check_health: bool = True
        ) -> None:
            try:
                await super().send_packed_command(command, check_health)
            except RuntimeError as error:
                raise RedisConnectionError(CLOSED) from error

    return Watchful
