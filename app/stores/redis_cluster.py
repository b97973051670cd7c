"""Redis Cluster: each command goes to the server that has its key, over a line to that server.

`redis+cluster://user:password@host:6379,host:6379` names some of the servers; which of them has
what is theirs to say (`app.stores.redis_slots`). Nothing is tried again but what a server has
refused to do because another one has the key.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from app.stores.redis_client import open_redis
from app.stores.redis_commands import key_of
from app.stores.redis_line import Command, RedisLine
from app.stores.redis_servers import SOMEWHERE
from app.stores.redis_slots import SERVING, Slots, cluster_address, host_of, place_of

SCHEME = "redis+cluster"
# A slot on its way is at the next server, or the one behind that; more are a cluster in disorder.
REDIRECTIONS = 5
NOT_SERVING = "The cluster does not serve this key just now."

ASKING = ("ASKING",)

# Where to, and whether as one to whom a slot is just being moved; and the numbers of the commands.
_Way: TypeAlias = tuple[str, bool]
_Ways: TypeAlias = dict[_Way, list[int]]


@dataclass(frozen=True, slots=True)
class _Server:
    redis: Redis
    line: RedisLine

    async def aclose(self) -> None:
        await self.line.aclose()
        await self.redis.aclose()


class RedisCluster:
    """`app.stores.redis_servers.Servers` that are the masters of a cluster."""

    def __init__(self, url: str, timeout_seconds: float, connect_seconds: float | None) -> None:
        """As `app.stores.redis_open.open_servers`."""
        self._address = cluster_address(url)
        self._timeout = timeout_seconds
        self._connect_seconds = connect_seconds
        self._slots = Slots(self._address, timeout_seconds, self._open)
        # Also those that were masters once: they are few, and somebody may still be waiting there.
        self._servers: dict[str, _Server] = {}

    async def ask(self, *commands: Command) -> list[Any]:
        await self._slots.known()
        replies: list[Any] = [None] * len(commands)
        ways: _Ways = {}
        for number, command in enumerate(commands):
            ways.setdefault((self.place(key_of(command)), False), []).append(number)
        for _ in range(REDIRECTIONS):
            await self._go(ways, commands, replies)
            ways = self._redirected(ways, replies)
            if not ways:
                break
        for reply in replies:
            if isinstance(reply, ClusterDownError):
                raise RedisConnectionError(NOT_SERVING) from reply
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def wait_for(self, *command: str | bytes | int | float) -> Any:
        await self._slots.known()
        way = (self.place(key_of(command)), False)
        for _ in range(REDIRECTIONS):
            try:
                return await self._wait_at(way, command)
            except ClusterDownError as error:
                raise RedisConnectionError(NOT_SERVING) from error
            except AskError as error:
                way = self._redirection(way, error)
            except (RedisError, OSError):
                self._slots.learn_behind()
                raise
        raise RedisConnectionError(NOT_SERVING)

    def place(self, key: str) -> str:
        return self._slots.place(key)

    def places(self) -> Mapping[str, Redis]:
        return {place: self._server(place).redis for place in self._slots.masters}

    async def find(self) -> Mapping[str, Redis]:
        await self._slots.known()
        return self.places()

    async def look(self, place: str) -> None:
        await self._slots.learn()
        if place in self._slots.masters:
            [state] = await self._server(place).line.ask(("CLUSTER", "INFO"))
            if SERVING not in state:
                raise RedisConnectionError(NOT_SERVING)
        elif place == SOMEWHERE and not self._slots.all_served():
            raise RedisConnectionError(NOT_SERVING)

    def statistics(self) -> Mapping[str, int]:
        total: dict[str, int] = {}
        for server in self._servers.values():
            for name, number in server.line.statistics().items():
                total[name] = total.get(name, 0) + number
        return total

    async def aclose(self) -> None:
        await self._slots.aclose()
        for server in list(self._servers.values()):
            await server.aclose()

    async def _go(self, ways: _Ways, commands: Sequence[Command], replies: list[Any]) -> None:
        """Ask every server at once, and put its replies into their places."""
        if len(ways) == 1:
            [(way, numbers)] = ways.items()
            await self._send(way, numbers, commands, replies)
            return
        sent = (self._send(way, numbers, commands, replies) for way, numbers in ways.items())
        for done in await asyncio.gather(*sent, return_exceptions=True):
            if done is not None:
                raise done

    async def _send(
        self, way: _Way, numbers: Sequence[int], commands: Sequence[Command], replies: list[Any]
    ) -> None:
        place, asking = way
        wanted = [commands[number] for number in numbers]
        if asking:
            wanted = [each for command in wanted for each in (ASKING, command)]
        try:
            told = await self._server(place).line.replies(*wanted)
        except (RedisError, OSError):  # TimeoutError is one
            self._slots.learn_behind()
            raise
        for number, reply in zip(numbers, told[1::2] if asking else told, strict=True):
            replies[number] = reply

    async def _wait_at(self, way: _Way, command: Command) -> Any:
        place, asking = way
        redis = self._server(place).redis
        if not asking:
            return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
        async with redis.pipeline(transaction=False) as pipe:
            pipe.execute_command(*ASKING)
            pipe.execute_command(*command)
            return (await pipe.execute())[1]

    def _redirected(self, ways: _Ways, replies: Sequence[Any]) -> _Ways:
        """Where to ask again for what was refused because another server has it."""
        again: _Ways = {}
        for way, numbers in ways.items():
            for number in numbers:
                if isinstance(replies[number], AskError):  # a MovedError is one
                    again.setdefault(self._redirection(way, replies[number]), []).append(number)
        return again

    def _redirection(self, way: _Way, error: AskError) -> _Way:
        place = place_of(error.host or host_of(way[0]), error.port)
        if isinstance(error, MovedError):
            self._slots.moved(error.slot_id, place)
        return place, not isinstance(error, MovedError)

    def _server(self, place: str) -> _Server:
        place = place or next(iter(self._slots.masters))  # whoever is asked says that nobody has it
        server = self._servers.get(place)
        if server is None:
            redis = self._open(place)
            server = self._servers[place] = _Server(redis, RedisLine(redis, self._timeout))
        return server

    def _open(self, place: str) -> Redis:
        return open_redis(
            self._address.url(place),
            socket_connect_timeout=self._connect_seconds,
            socket_timeout=None,  # as for a server that is alone
        )
