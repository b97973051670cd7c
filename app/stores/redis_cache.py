"""The cache port on Redis: faster when it is there, never in the way when it is not.

A breaker opens the first time Redis does not answer, so that only those in flight wait for one
that hangs; a background probe closes it again. Entries are `SET key value EX ttl`, and each of
their tags knows them (`app.stores.tag_index`), so that an invalidation finds and frees them.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from app.stores.cache_counts import CacheCounts
from app.stores.patience import Patience
from app.stores.redis_client import open_redis
from app.stores.redis_line import Command, RedisLine
from app.stores.tag_index import free_some, put_under, set_aside

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

# Of what `attempt` does, which is rare. Each has a connection; the client refuses more than 100 of
# them with an error, and opening hundreds at once takes longer than the timeout.
MAX_IN_FLIGHT = 32
PLACE_SECONDS = 1.0
# Of their life entries lose up to so much.
SPREAD = 0.1


class RedisCache:
    """`app.chat.ports.Cache` on a Redis or Valkey server. Close with `aclose()`.

    `counts` are those of all that is built on it; this class counts what Redis did not answer.
    """

    def __init__(self, url: str, *, timeout_seconds: float, retry_after_seconds: float) -> None:
        self.counts = CacheCounts()
        self._timeout = timeout_seconds
        self._retry_after = retry_after_seconds
        self._probe: asyncio.Task[None] | None = None
        self._freeing: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._redis = open_redis(
            url,
            socket_connect_timeout=None,
            # The deadline is `_guard`'s. The client would send within `asyncio.wait_for`, which on
            # Python 3.11 loses a cancellation that meets the end of what it waits for.
            socket_timeout=None,
        )
        self._line = RedisLine(self._redis, timeout_seconds)

    @property
    def state(self) -> str:
        """ "ok", or "away" while the breaker is open."""
        return "ok" if self._probe is None else "away"

    def connections(self) -> Mapping[str, Mapping[str, int]]:
        """What look-ups and puts go by."""
        return {"redis": self._line.statistics()}

    async def ping(self) -> bool:
        """Whether the server answers now."""
        return await self.ask(("PING",)) is not None

    async def aclose(self) -> None:
        """What was dropped and is not yet freed ends with its time to live."""
        tasks = [*self._freeing, *([self._probe] if self._probe is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._line.aclose()
        await self._redis.aclose()

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        replies = await self.ask(("MGET", *keys))
        values: Sequence[bytes | None] = replies[0] if replies else [None] * len(keys)
        return values

    async def put(self, key: str, value: bytes, ttl_seconds: int, tags: Sequence[str]) -> None:
        seconds = spread(key, ttl_seconds)
        await self.ask(("SET", key, value, "EX", seconds), *put_under(key, seconds, tags))

    async def ask(self, *commands: Command) -> list[Any] | None:
        """The replies, in one round trip; None where Redis is away, or refuses one of them."""
        return await self._guard(lambda: self._line.ask(*commands), None)

    async def drop(self, tag: str) -> int:
        """How many entries the tag has, in one round trip; they are freed in the background. 0
        while Redis is away: the epochs in the keys have already made them unreachable."""
        [[living, aside]] = await self.ask(set_aside(tag)) or [(0, ())]
        if living:
            task = asyncio.create_task(self._free(aside), name="freeing of dropped entries")
            self._freeing.add(task)
            task.add_done_callback(self._freeing.discard)
        return int(living)

    async def attempt(
        self, call: Callable[[Redis], Awaitable[Result]], otherwise: Result
    ) -> Result:
        """What `call` makes of the server, or `otherwise` where that is away or refuses. For what
        is rare: a client of its own, and a connection each, cost ten times as much as `ask`."""

        async def in_place() -> Result:
            # The wait for a place says how busy this process is, not how Redis is.
            async with Patience(PLACE_SECONDS), self._places, Patience(self._timeout):
                return await call(self._redis)

        return await self._guard(in_place, otherwise)

    async def _free(self, aside: Sequence[bytes]) -> None:
        for name in aside:
            while (await self.ask(free_some(name)) or [0])[0]:
                pass

    async def _guard(self, call: Callable[[], Awaitable[Result]], otherwise: Result) -> Result:
        if self._probe is not None:
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
            self._open(error)
        return otherwise

    def _open(self, error: Exception) -> None:
        if self._probe is None:
            log.warning("redis away, answering without it", cause=type(error).__name__)
            self._probe = asyncio.create_task(self._until_back())

    async def _until_back(self) -> None:
        while True:
            await asyncio.sleep(self._retry_after)
            try:
                async with asyncio.timeout(self._timeout):
                    await self._redis.ping()
            except (RedisError, OSError, TimeoutError):
                continue
            log.info("redis back")
            self._probe = None
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
