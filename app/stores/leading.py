"""Which run produces which answer, over all processes: a key in Redis for as long as it is at it.

A leader beats; a key whose leader died is gone within `DEAD_MS`, and another takes it. Without
Redis everybody leads.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from redis.asyncio import Redis

from app.stores.redis_cache import RedisCache

# With a look every 50 ms (`app.chat.flights`) a dead leader is replaced within a second.
DEAD_MS = 800
BEAT_SECONDS = 0.2

_STILL_MINE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call({}) end"
KEEP = _STILL_MINE.format("'PEXPIRE', KEYS[1], ARGV[2]")
LET_GO = _STILL_MINE.format("'DEL', KEYS[1]")


class RedisLeading:
    """`app.chat.flights.Leading` beside the answers' cache, whose breaker it shares. Close with
    `aclose()`."""

    def __init__(self, cache: RedisCache) -> None:
        self._cache = cache
        self._led: dict[str, UUID] = {}
        self._over: list[tuple[str, UUID]] = []
        self._wake = asyncio.Event()
        self._beating = asyncio.create_task(self._beat(), name="leading")

    async def aclose(self) -> None:
        """Let others lead at once."""
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        self._over += self._led.items()
        self._led = {}
        await self._tell()

    async def lead(self, key: str, run_id: UUID) -> UUID | None:
        """See `Leading.lead`."""

        async def take(redis: Redis) -> bytes | None:
            return await redis.set(  # type: ignore[return-value]
                _name(key), str(run_id), nx=True, get=True, px=DEAD_MS
            )

        self._led[key] = run_id
        self._wake.set()
        leader = await self._cache.attempt(take, None)
        if leader is None:
            return None
        if self._led.get(key) == run_id:
            del self._led[key]
        return UUID(leader.decode())

    async def leader(self, key: str) -> UUID | None:
        """Who leads now; None where nobody does, or nobody knows."""

        async def get(redis: Redis) -> bytes | None:
            return await redis.get(_name(key))  # type: ignore[return-value]

        found = await self._cache.attempt(get, None)
        return UUID(found.decode()) if found else None

    def let_go(self, key: str, run_id: UUID) -> None:
        """See `Leading.let_go`."""
        if self._led.get(key) == run_id:
            del self._led[key]
            self._over.append((key, run_id))
            self._wake.set()

    async def _beat(self) -> None:
        """Keep what is led, and give up what is over, which others wait for."""
        while True:
            while not (self._led or self._over):
                self._wake.clear()
                await self._wake.wait()
            await self._tell()
            # Who has just taken a lead has its life already; what is over is told at once.
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    while not self._over:
                        self._wake.clear()
                        await self._wake.wait()

    async def _tell(self) -> None:
        over, self._over = self._over, []
        if not over and not self._led:
            return
        led: Sequence[tuple[str, UUID]] = list(self._led.items())

        async def tell(redis: Redis) -> None:
            async with redis.pipeline(transaction=False) as pipe:
                for key, run_id in over:
                    pipe.eval(LET_GO, 1, _name(key), str(run_id))
                for key, run_id in led:
                    pipe.eval(KEEP, 1, _name(key), str(run_id), DEAD_MS)
                await pipe.execute()

        await self._cache.attempt(tell, None)


def _name(key: str) -> str:
    return f"flight:{key}"
