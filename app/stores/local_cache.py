"""The cache port on this process's memory before Redis: what is asked for all the time is at hand.

Only what Redis had is kept: an entry is put there by the first who asks and read by the second, so
what is asked once takes no memory here, and what is missing is never remembered as missing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.stores.hottest import Hottest
from app.stores.redis_cache import NoCache, RedisCache

# An entry asked for less often than this costs a round trip. Keys hold versions and epochs,
# so what is kept is right however long; this bounds its life beyond that in Redis, and for how long
# an answer that another process has replaced (`"cache": "refresh"`) is still given here.
LOCAL_SECONDS = 10.0


class LocalCache:
    """`app.chat.ports.AnswerCache`; it alone counts its callers' look-ups, hits and puts."""

    def __init__(
        self,
        shared: RedisCache | NoCache,
        hottest: Hottest,
        *,
        layer: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`layer`: hits are this layer's, whose look-ups are counted elsewhere."""
        self._shared = shared
        self._hottest = hottest
        self._counts = shared.counts
        self._layer = None if layer is None else shared.counts.layers[layer]
        self._clock = clock

    def at_hand(self, key: str) -> bytes | None:
        value = self._hottest.get(key, self._clock())
        if value is not None:
            self._count((key,), found=True, local=True)
        return value

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Redis is asked for those only that stand before the first one at hand."""
        values, place, local = await self._find(keys)
        looked_up = keys if place is None else keys[: place + 1]
        self._count(looked_up, found=place is not None, local=local)
        return values

    async def put(self, key: str, value: bytes, ttl_seconds: int, tags: Sequence[str]) -> None:
        self._counts.of(key).puts += 1
        try:
            await self._shared.put(key, value, ttl_seconds, tags)
        finally:
            self._hottest.forget(key)

    async def drop(self, tag: str) -> int:
        """See `RedisCache.drop`. Everything is forgotten here: what was read of Redis came without
        its tags, and comes again with one round trip each."""
        self._hottest.clear()
        return await self._shared.drop(tag)

    def found_by(self, layer: str) -> "LocalCache":
        """The same for those who come by way of another layer, which counts as having found it."""
        return LocalCache(self._shared, self._hottest, layer=layer, clock=self._clock)

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """By layer (`CacheCounts`), and how this process and Redis are."""
        hottest = self._hottest
        return {
            **self._counts.by_layer(),
            "local": {
                "entries": len(hottest),
                "bytes": hottest.bytes,
                "limit_bytes": hottest.limit_bytes,
            },
            "redis": {"state": self._shared.state, **self._counts.of_server()},
        }

    def connections(self) -> Mapping[str, Mapping[str, int]]:
        """To Redis, where one is configured."""
        return self._shared.connections()

    def _count(self, looked_up: Sequence[str], *, found: bool, local: bool) -> None:
        """`found`: the last of them."""
        if self._layer is None:
            for key in looked_up:
                self._counts.of(key).lookups += 1
        if found:
            (self._layer or self._counts.of(looked_up[-1])).hit(local=local)

    async def _find(self, keys: Sequence[str]) -> tuple[Sequence[bytes | None], int | None, bool]:
        """The values, the place of the first that there is, and whether it was at hand."""
        now = self._clock()
        values: list[bytes | None] = [None] * len(keys)
        at_hand = len(keys)
        for place, key in enumerate(keys):
            if (held := self._hottest.get(key, now)) is not None:
                values[place], at_hand = held, place
                break
        if at_hand:
            values[:at_hand] = await self._shared.get_many(keys[:at_hand])
        for place, value in enumerate(values):
            if value is not None:
                if place != at_hand:
                    self._hottest.keep(keys[place], value, now)
                return values, place, place == at_hand
        return values, None, False
