"""Which run produces which answer, over all processes: a key in Redis for as long as it is at it.

A process lives while it is subscribed to a channel of its own: when it is killed, its connections
end at once, however busy it was. Only where a machine is lost without a word it is the key that
ends, some seconds behind the last beat. Without Redis everybody leads.

In a cluster it is subscribed at every server, because each knows of its own subscribers alone.
Nobody ever says anything there, so that costs a cluster nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from uuid import UUID, uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import Unavailable
from app.stores.redis_cache import RedisCache

# A process that is busy beats late; this long it may take.
DEAD_MS = 10_000
BEAT_SECONDS = 2.0
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

    def __init__(self, cache: RedisCache, ended: Callable[[UUID], Awaitable[None]]) -> None:
        self._cache = cache
        self._servers = cache.servers
        self._ended = ended
        self._process = uuid4().hex
        self._led: dict[str, UUID] = {}
        self._landing: set[asyncio.Task[None]] = set()
        self._lives: dict[str, asyncio.Task[None]] = {}  # by the servers' places
        self._living: set[str] = set()
        self._beating = asyncio.create_task(self._beat(), name="leading: beat")

    async def aclose(self) -> None:
        """Let others lead at once."""
        tasks = [self._beating, *self._lives.values(), *self._landing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        led, self._led = list(self._led.items()), {}
        await self._tell(LET_GO, led)

    @property
    def living(self) -> bool:
        """Whether all servers that there are see this process alive."""
        places = self._servers.places().keys()
        return bool(places) and self._living >= places

    async def lead(self, key: str, run_id: UUID) -> UUID | None:
        """See `Leading.lead`."""
        if self._servers.place(_name(key)) not in self._living:
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
        """See `Leading.leader`."""
        replies = await self._cache.ask(("EVAL", LEADER, 1, _name(key)))
        if replies is None:
            raise Unavailable
        [found] = replies
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

    async def _live(self, place: str, redis: Redis) -> None:
        """Be subscribed to the process's own channel there."""
        while True:
            try:
                async with redis.pubsub() as told:
                    await told.subscribe(f"flights:{self._process}")
                    async for message in told.listen():
                        if message["type"] == "subscribe":
                            self._living.add(place)
            except (RedisError, OSError):
                await asyncio.sleep(AGAIN_SECONDS)
            finally:
                self._living.discard(place)

    async def _beat(self) -> None:
        while True:
            await self._settle()
            await self._tell(KEEP, list(self._led.items()))
            await asyncio.sleep(BEAT_SECONDS)

    async def _settle(self) -> None:
        """Live where there are servers now, and there alone."""
        try:
            servers = await self._servers.find()
        except (RedisError, OSError):
            return
        for place in servers.keys() - self._lives.keys():
            living = self._live(place, servers[place])
            self._lives[place] = asyncio.create_task(living, name="leading: life")
        for place in self._lives.keys() - servers.keys():
            self._lives.pop(place).cancel()

    async def _tell(self, script: str, led: Sequence[tuple[str, UUID]]) -> None:
        def place(each: tuple[str, UUID]) -> str:
            return self._servers.place(_name(each[0]))

        for _, there in groupby(sorted(led, key=place), place):
            await self._cache.ask(
                *(
                    ("EVAL", script, 1, _name(key), f"{run_id} {self._process}", DEAD_MS)
                    for key, run_id in there
                )
            )


def _name(key: str) -> str:
    return f"flight:{key}"
