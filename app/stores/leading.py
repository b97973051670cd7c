"""Which run produces which answer, over all processes: a key in Redis for as long as it is at it.

A process lives while it is subscribed to a channel of its own: when it is killed, its connections
end at once, however busy it was. Only where a machine is lost without a word it is the key that
ends, some seconds behind the last beat. Without Redis everybody leads.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

from redis.exceptions import RedisError

from app.stores.redis_cache import RedisCache
from app.stores.redis_client import open_redis

# A process that is busy beats late; this long it may take.
DEAD_MS = 10_000
BEAT_SECONDS = 2.0
CONNECT_SECONDS = 0.5
AGAIN_SECONDS = 0.2

# A value is a run's id, a space and its process. The scripts read who lives besides the key.
_ALIVE = """
local value = redis.call('GET', KEYS[1])
if value and redis.call('PUBSUB', 'NUMSUB', 'flights:' .. string.sub(value, 38))[2] == 0 then
    value = false
end
"""
LEADER = f"{_ALIVE} return value and string.sub(value, 1, 36)"
# Of one process the latest leads: whoever did before has come to its end there.
LEAD = f"""{_ALIVE}
if value and string.sub(value, 38) ~= string.sub(ARGV[1], 38) then
    return string.sub(value, 1, 36)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
"""
_STILL_MINE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call({}) end"
KEEP = _STILL_MINE.format("'PEXPIRE', KEYS[1], ARGV[2]")
LET_GO = _STILL_MINE.format("'DEL', KEYS[1]")


class RedisLeading:
    """`app.chat.flights.Leading` beside the answers' cache, whose breaker it shares. `ended` waits
    until all that a run said is there for others to read. Close with `aclose()`."""

    def __init__(
        self, cache: RedisCache, url: str, ended: Callable[[UUID], Awaitable[None]]
    ) -> None:
        self._cache = cache
        self._ended = ended
        self._life = open_redis(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=None,  # it says nothing for as long as it lives
        )
        self._process = uuid4().hex
        self._led: dict[str, UUID] = {}
        self._landing: set[asyncio.Task[None]] = set()
        self._living = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._live(), name="leading: life"),
            asyncio.create_task(self._beat(), name="leading: beat"),
        ]

    async def aclose(self) -> None:
        """Let others lead at once."""
        tasks = [*self._tasks, *self._landing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        led, self._led = list(self._led.items()), {}
        await self._tell(LET_GO, led)
        await self._life.aclose()

    async def lead(self, key: str, run_id: UUID) -> UUID | None:
        """See `Leading.lead`."""
        if not self._living.is_set():
            return None  # who cannot be seen alive does not lead for others
        value = f"{run_id} {self._process}"
        replies = await self._cache.ask(("EVAL", LEAD, 1, _name(key), value, DEAD_MS))
        if replies is None:
            return None
        [found] = replies
        if found is None:
            self._led[key] = run_id
        return UUID(found.decode()) if found else None

    async def leader(self, key: str) -> UUID | None:
        """Who leads now; None where nobody does, or nobody knows."""
        [found] = await self._cache.ask(("EVAL", LEADER, 1, _name(key))) or [None]
        return UUID(found.decode()) if found else None

    def let_go(self, key: str, run_id: UUID) -> None:
        """See `Leading.let_go`: as soon as followers have its end, so that none takes it for dead
        before."""
        if self._led.get(key) == run_id:
            landing = asyncio.create_task(self._land(key, run_id), name="leading: landing")
            self._landing.add(landing)
            landing.add_done_callback(self._landing.discard)

    async def _land(self, key: str, run_id: UUID) -> None:
        await self._ended(run_id)
        if self._led.get(key) == run_id:
            del self._led[key]
        await self._tell(LET_GO, [(key, run_id)])

    async def _live(self) -> None:
        """Be subscribed to the process's own channel."""
        while True:
            try:
                async with self._life.pubsub() as told:
                    await told.subscribe(f"flights:{self._process}")
                    async for message in told.listen():
                        if message["type"] == "subscribe":
                            self._living.set()
            except (RedisError, OSError):
                await asyncio.sleep(AGAIN_SECONDS)
            finally:
                self._living.clear()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._tell(KEEP, list(self._led.items()))

    async def _tell(self, script: str, led: Sequence[tuple[str, UUID]]) -> None:
        if not led:
            return
        await self._cache.ask(
            *(
                ("EVAL", script, 1, _name(key), f"{run_id} {self._process}", DEAD_MS)
                for key, run_id in led
            )
        )


def _name(key: str) -> str:
    return f"flight:{key}"
