"""The cache port on Redis: faster when it is there, never in the way when it is not.

A breaker opens the first time a server does not answer, so that only those in flight wait for one
that hangs; a background probe closes it again. Each server of a cluster has a breaker of its own:
the tenants on the others do not notice. Entries are `SET key value EX ttl`, and each of their tags
knows them (`app.stores.tag_index`), so that an invalidation finds and frees them.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from redis.exceptions import RedisError, ResponseError

from app.stores.cache_counts import CacheCounts
from app.stores.redis_commands import key_of
from app.stores.redis_line import Command
from app.stores.redis_open import open_servers
from app.stores.redis_servers import SOMEWHERE
from app.stores.tag_index import free_some, put_under, set_aside

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

# Of connections that others open by the servers' clients; a line's take as long as an answer.
CONNECT_SECONDS = 2.0
# Of their life entries lose up to so much.
SPREAD = 0.1


class RedisCache:
    """`app.chat.ports.Cache` on a Redis or Valkey server, or a cluster of them. Close with
    `aclose()`.

    `counts` are those of all that is built on it; this class counts what Redis did not answer.
    """

    def __init__(self, url: str, *, timeout_seconds: float, retry_after_seconds: float) -> None:
        self.counts = CacheCounts()
        self.servers = open_servers(url, timeout_seconds, CONNECT_SECONDS)
        self._retry_after = retry_after_seconds
        self._probes: dict[str, asyncio.Task[None]] = {}  # of the places that are away
        self._freeing: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> str:
        """ "ok", or "away" while a breaker is open."""
        return "away" if self._probes else "ok"

    def connections(self) -> Mapping[str, Mapping[str, int]]:
        """What everything goes by."""
        return {"redis": self.servers.statistics()}

    async def ping(self) -> bool:
        """Whether every server answers now."""
        places = self.servers.places() or (SOMEWHERE,)
        return all(await asyncio.gather(*(self._answers(place) for place in places)))

    async def aclose(self) -> None:
        """What was dropped and is not yet freed ends with its time to live."""
        tasks = [*self._freeing, *self._probes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.servers.aclose()

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        # No MGET: while a cluster moves a slot, that is refused where it has moved half of them.
        values = await self.ask(*[("GET", key) for key in keys])
        return values if values is not None else [None] * len(keys)

    async def put(self, key: str, value: bytes, ttl_seconds: int, tags: Sequence[str]) -> None:
        seconds = spread(key, ttl_seconds)
        await self.ask(("SET", key, value, "EX", seconds), *put_under(key, seconds, tags))

    async def ask(self, *commands: Command) -> list[Any] | None:
        """The replies, in one round trip, to commands about keys that are at one place; None where
        Redis is away, or refuses one of them."""
        return await self._guard(
            lambda: self.servers.place(key_of(commands[0])),
            lambda: self.servers.ask(*commands),
            None,
        )

    async def drop(self, tag: str) -> int:
        """How many entries the tag has, in one round trip; they are freed in the background. 0
        while Redis is away: the epochs in the keys have already made them unreachable."""
        [[living, aside]] = await self.ask(set_aside(tag)) or [(0, ())]
        if living:
            task = asyncio.create_task(self._free(aside), name="freeing of dropped entries")
            self._freeing.add(task)
            task.add_done_callback(self._freeing.discard)
        return int(living)

    async def _free(self, aside: Sequence[bytes]) -> None:
        for name in aside:
            while (await self.ask(free_some(name)) or [0])[0]:
                pass

    async def _answers(self, place: str) -> bool:
        async def look() -> bool:
            await self.servers.look(place)
            return True

        return await self._guard(lambda: place, look, False)

    async def _guard(
        self,
        place: Callable[[], str],
        call: Callable[[], Awaitable[Result]],
        otherwise: Result,
    ) -> Result:
        """`place` is asked for only where one is away, and again where the call has failed: then a
        cluster may know better where that was."""
        if self._probes and place() in self._probes:
            self.counts.skipped += 1
            return otherwise
        try:
            return await call()
        except ResponseError as error:
            # It is there, but refuses: out of memory, read-only, a key of another kind.
            log.warning("redis refused a command", cause=type(error).__name__)
            self.counts.refused += 1
        except (RedisError, OSError, TimeoutError) as error:
            self.counts.failed += 1
            self._open(place(), error)
        return otherwise

    def _open(self, place: str, error: Exception) -> None:
        if place not in self._probes:
            named = {"server": place} if place else {}
            log.warning("redis away, answering without it", cause=type(error).__name__, **named)
            self._probes[place] = asyncio.create_task(self._until_back(place, named))

    async def _until_back(self, place: str, named: Mapping[str, str]) -> None:
        while True:
            await asyncio.sleep(self._retry_after)
            try:
                await self.servers.look(place)
            except (RedisError, OSError, TimeoutError):
                continue
            log.info("redis back", **named)
            del self._probes[place]
            return


def spread(key: str, ttl_seconds: int) -> int:
    """Up to a tenth less, by the key: what was put in together must not end together."""
    share = zlib.crc32(key.encode()) / 2**32
    return max(1, ttl_seconds - int(ttl_seconds * SPREAD * share))


class NoCache:
    """The cache port where no Redis is configured: every look-up is a miss."""

    state = "none"

    def __init__(self) -> None:
        self.counts = CacheCounts()

    def connections(self) -> Mapping[str, Mapping[str, int]]:
        return {}

    async def ping(self) -> bool:
        return True

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        return [None] * len(keys)

    async def put(self, key: str, value: bytes, ttl_seconds: int, tags: Sequence[str]) -> None:
        return None

    async def drop(self, tag: str) -> int:
        return 0

    async def aclose(self) -> None:
        return None
