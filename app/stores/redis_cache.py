"""The cache port on Redis: faster when it is there, never in the way when it is not.

A breaker opens the first time Redis does not answer, so that only those in flight wait for one
that hangs; a background probe closes it again. Entries are `SET key value EX ttl`, and each of
their tags knows them (`app.stores.tag_index`), so that an invalidation finds and frees them.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from app.stores.cache_counts import CacheCounts
from app.stores.patience import Patience
from app.stores.redis_client import open_redis
from app.stores.tag_index import free_some, put_under, set_aside

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

# Each command in flight has a connection. The client refuses more than 100 of them with an error,
# and opening hundreds at once takes longer than the timeout; 32 answer 1,000 look-ups in 0.1 s.
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

    @property
    def state(self) -> str:
        """ "ok", or "away" while the breaker is open."""
        return "ok" if self._probe is None else "away"

    async def ping(self) -> bool:
        """Whether the server answers now."""

        async def ping() -> bool:
            return bool(await self._redis.ping())

        return await self._guard(ping, False)

    async def aclose(self) -> None:
        """What was dropped and is not yet freed ends with its time to live."""
        tasks = [*self._freeing, *([self._probe] if self._probe is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._redis.aclose()

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        async def read() -> Sequence[bytes | None]:
            values: list[bytes | None] = await self._redis.mget(list(keys))  # type: ignore[assignment]
            return values

        return await self._guard(read, [None] * len(keys))

    async def put(self, key: str, value: bytes, ttl_seconds: int, tags: Sequence[str]) -> None:
        seconds = spread(key, ttl_seconds)

        async def write() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(key, value, ex=seconds)
                put_under(pipe, key, seconds, tags)
                await pipe.execute()

        await self._guard(write, None)

    async def drop(self, tag: str) -> int:
        """How many entries the tag has, in one round trip; they are freed in the background. 0
        while Redis is away: the epochs in the keys have already made them unreachable."""
        nothing: tuple[int, Sequence[bytes]] = 0, ()
        living, aside = await self.attempt(lambda redis: set_aside(redis, tag), nothing)
        if living:
            task = asyncio.create_task(self._free(aside), name="freeing of dropped entries")
            self._freeing.add(task)
            task.add_done_callback(self._freeing.discard)
        return living

    async def attempt(
        self, call: Callable[[Redis], Awaitable[Result]], otherwise: Result
    ) -> Result:
        """What `call` makes of the server, or `otherwise` where that is away or refuses."""
        return await self._guard(lambda: call(self._redis), otherwise)

    async def _free(self, aside: Sequence[bytes]) -> None:
        for name in aside:
            while await self.attempt(partial(free_some, aside=name), False):
                pass

    async def _guard(self, call: Callable[[], Awaitable[Result]], otherwise: Result) -> Result:
        if self._probe is not None:
            self.counts.skipped += 1
            return otherwise
        try:
            # The wait for a place says how busy this process is, not how Redis is.
            async with Patience(PLACE_SECONDS), self._places, Patience(self._timeout):
                # Who waited for a place may find that the others have met a Redis that hangs.
                if self._probe is None:
                    return await call()
            self.counts.skipped += 1
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
