"""Redis behind Sentinel: each new connection goes to whoever is the master then.

`redis+sentinel://user:password@host:26379,host:26379/mymaster?db=0`. User and password are the
master's; those of the sentinels, where they have any, are `sentinel_username` and
`sentinel_password` behind the `?`. A failover cuts connections to the former master, or that is
gone; what connects anew asks the sentinels again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    SentinelConnectionPool,
    SentinelManagedConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

SCHEME = "redis+sentinel"
PORT = 26379
# Of one sentinel; all are asked at once, and the first that knows counts.
ASK_SECONDS = 0.5
MASTER = (b"master", "master")


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Where the sentinels are, and what they and the master want to hear."""

    hosts: Sequence[tuple[str, int]]
    service: str
    login: dict[str, Any] = field(repr=False)
    sentinels_login: dict[str, Any] = field(repr=False)

    async def discover_master(self, service: str) -> tuple[str, int]:
        """Its address. Raises MasterNotFoundError where no sentinel knows. One that hangs holds up
        nobody: a connection is waited for for no longer than an answer of Redis."""
        asking = [asyncio.create_task(self._ask(host, port, service)) for host, port in self.hosts]
        try:
            for first in asyncio.as_completed(asking):
                if (found := await first) is not None:
                    return found
        finally:
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        raise MasterNotFoundError(f"No sentinel knows a master of {service}.")

    async def _ask(self, host: str, port: int, service: str) -> tuple[str, int] | None:
        # No client with a pool: it would leave a connection open that is cut off while it opens.
        sentinel = Connection(
            host=host,
            port=port,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=ASK_SECONDS,
            socket_timeout=ASK_SECONDS,
            **self.sentinels_login,
        )
        try:
            await sentinel.connect()  # type: ignore[no-untyped-call]
            await sentinel.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
            found = await sentinel.read_response()
        except (RedisError, OSError, TimeoutError):
            return None
        finally:
            await sentinel.disconnect(nowait=True)
        return (_text(found[0]), int(found[1])) if found else None


def sentinels(url: str) -> Sentinels:
    """What an address says that the settings have taken."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    login: dict[str, Any] = {"db": int(options.get("db", 0))}
    if parts.username:
        login["username"] = unquote(parts.username)
    if parts.password:
        login["password"] = unquote(parts.password)
    return Sentinels(
        hosts=[_place(place) for place in parts.netloc.rpartition("@")[2].split(",")],
        service=unquote(parts.path.strip("/")),
        login=login,
        sentinels_login={
            name: options[f"sentinel_{name}"]
            for name in ("username", "password")
            if f"sentinel_{name}" in options
        },
    )


def sentinel_pool(url: str, **options: Any) -> SentinelConnectionPool:
    """Connections to the master; `options` are those of `Redis.from_url`."""
    found = sentinels(url)
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        found.service, found, connection_class=_ToMaster, **found.login, **options
    )


class _ToMaster(SentinelManagedConnection):
    async def connect_to(self, address: tuple[str, int]) -> None:
        """A sentinel may be the last to hear of a failover: the server is asked whether it is
        what it was said to be."""
        await super().connect_to(address)  # type: ignore[no-untyped-call]
        await self.send_command("ROLE")
        role = await self.read_response()
        if role[0] not in MASTER:
            await self.disconnect()
            raise RedisConnectionError("The server is no master any more.")


def _place(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or PORT


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
