"""Sharded channels that a process hears, each at the server that has its slot.

What is said there (`SPUBLISH`) stays on that server, and is heard by those alone who need it: all
processes of a large cluster would otherwise hear of every tenant's. A single server has sharded
channels as well, since Redis 7.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import AskError, RedisError, ResponseError

from app.stores.redis_servers import SOMEWHERE, Servers

log = structlog.get_logger(__name__)

# A channel is left when nobody has needed it for so long: joining one costs a round trip.
NEEDED_SECONDS = 60.0
AGAIN_SECONDS = 1.0


class Channels:
    """Those that are needed are heard. Close with `aclose()`."""

    def __init__(self, servers: Servers, hear: Callable[[str], None]) -> None:
        """`hear` is given every message."""
        self._servers = servers
        self._hear = hear
        self._needed: dict[str, float] = {}  # by channel: when it was, last
        self._ears: dict[str, _Ear] = {}  # by the servers' places
        self._tasks = {asyncio.create_task(self._forget(), name="channels")}

    async def aclose(self) -> None:
        tasks = [*self._tasks, *(ear.task for ear in self._ears.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def need(self, channel: str) -> None:
        """Hear it from now on, for a minute at least."""
        if channel not in self._needed:
            self._do(self._join([channel]))
        self._needed[channel] = time.monotonic()

    async def _join(self, channels: Sequence[str]) -> None:
        """Each where it is now."""
        try:
            servers = await self._servers.find()
        except (RedisError, OSError):
            self._do(self._join_later(channels))
            return
        for channel in channels:
            place = self._servers.place(channel)
            if channel not in self._needed:
                continue
            if place not in servers:  # nobody has its slot
                self._do(self._join_later([channel]))
                continue
            if place not in self._ears:
                self._ears[place] = _Ear(servers[place], self._hear, self._moved)
                self._ears[place].task.add_done_callback(partial(self._lost, place))
            self._ears[place].join(channel)

    async def _join_later(self, channels: Sequence[str]) -> None:
        await asyncio.sleep(AGAIN_SECONDS)
        await self._join_anew(channels)

    async def _join_anew(self, channels: Sequence[str]) -> None:
        with suppress(RedisError, OSError):  # then joining says so as well
            await self._servers.look(SOMEWHERE)  # a cluster says who has what now
        await self._join(channels)

    def _moved(self, channel: str) -> None:
        """Its slot is at another server now."""
        self._do(self._join_anew([channel]))

    def _lost(self, place: str, task: "asyncio.Task[None]") -> None:
        """A server is away, or has nothing more that is needed."""
        ear = self._ears.pop(place)
        if not task.cancelled() and ear.channels:
            self._do(self._join_later(sorted(ear.channels)))

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(NEEDED_SECONDS)
            before = time.monotonic() - NEEDED_SECONDS
            for channel in [each for each, when in self._needed.items() if when < before]:
                del self._needed[channel]
                for ear in self._ears.values():
                    ear.leave(channel)

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(what, name="channels")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Ear:
    """One connection to one server, for all channels there. The task ends when the server is away,
    or says that it never had one of the channels."""

    def __init__(
        self, redis: Redis, hear: Callable[[str], None], moved: Callable[[str], None]
    ) -> None:
        self.channels: set[str] = set()
        self._joined: set[str] = set()
        self._redis = redis
        self._hear = hear
        self._moved = moved
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._listen(), name="channels of a server")

    def join(self, channel: str) -> None:
        self.channels.add(channel)
        self._changed.set()

    def leave(self, channel: str) -> None:
        self.channels.discard(channel)
        self._changed.set()

    async def _listen(self) -> None:
        try:
            async with self._redis.pubsub() as told:
                await self._subscribe(told)
                keeping = asyncio.create_task(self._keep(told), name="joining channels")
                try:
                    await self._read(told)
                finally:
                    keeping.cancel()
                    await asyncio.gather(keeping, return_exceptions=True)
        except ResponseError as error:
            if not isinstance(error, AskError):  # which says who has it
                log.warning("redis refused a channel", cause=type(error).__name__)
        except (RedisError, OSError):
            pass

    async def _keep(self, told: PubSub) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._subscribe(told)

    async def _subscribe(self, told: PubSub) -> None:
        """One command each: several are refused where their slots differ."""
        for channel in sorted(self.channels - self._joined):
            self._joined.add(channel)
            await told.ssubscribe(channel)
        for channel in sorted(self._joined - self.channels):
            self._joined.discard(channel)
            await told.sunsubscribe(channel)

    async def _read(self, told: PubSub) -> None:
        async for message in told.listen():
            if message["type"] == "smessage":
                self._hear(message["data"].decode())
            elif message["type"] == "sunsubscribe":
                channel = message["channel"].decode()
                if channel in self.channels & self._joined:  # it was not we who left
                    self._joined.discard(channel)
                    self.channels.discard(channel)
                    self._moved(channel)
