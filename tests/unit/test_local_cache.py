"""The layer before Redis, on a real Valkey: when it is asked, what it keeps, what it counts."""

from collections.abc import AsyncIterator, Sequence

import pytest

from app.embedded import Servers
from app.embedded.valkey import Valkey
from app.stores.hottest import Hottest
from app.stores.local_cache import LOCAL_SECONDS, LocalCache
from app.stores.redis_cache import NoCache, RedisCache
from tests.support.live import unique

MEGABYTE = 2**20


class Watched(RedisCache):
    """Redis, with the look-ups that it was asked for."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=5, retry_after_seconds=0.1)
        self.asked: list[list[str]] = []

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        self.asked.append(list(keys))
        return await super().get_many(keys)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Watched]:
    opened = Watched(servers.redis_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def layered(shared: RedisCache | NoCache, clock: Clock, limit_bytes: int = MEGABYTE) -> LocalCache:
    return LocalCache(shared, Hottest(limit_bytes, LOCAL_SECONDS), clock=clock)


def keys_of(name: str) -> list[str]:
    """The answer's and the passages'."""
    return [f"agent:response:{{1}}:{name}", f"rag:chunks:{{1}}:{name}"]


async def test_the_second_who_asks_reads_redis_and_the_third_does_not(
    redis: Watched, clock: Clock
) -> None:
    cache, [key, _] = layered(redis, clock), keys_of(unique("q"))
    assert await cache.get_many([key]) == [None]
    await cache.put(key, b"v", 60, [])
    for _ in range(3):
        assert await cache.get_many([key]) == [b"v"]
    assert redis.asked == [[key]] * 2
    clock.now = LOCAL_SECONDS
    assert await cache.get_many([key]) == [b"v"]
    assert redis.asked == [[key]] * 3


async def test_what_is_missing_is_asked_for_each_time(redis: Watched, clock: Clock) -> None:
    cache, other, keys = layered(redis, clock), layered(redis, clock), keys_of(unique("q"))
    assert await cache.get_many(keys) == await cache.get_many(keys) == [None, None]
    await other.put(keys[0], b"of another process", 60, [])
    assert (await cache.get_many(keys))[0] == b"of another process"


async def test_redis_is_asked_only_for_what_stands_before_what_is_at_hand(
    redis: Watched, clock: Clock
) -> None:
    cache, [answer, passages] = layered(redis, clock), keys_of(unique("q"))
    await cache.put(passages, b"p", 60, [])
    for _ in range(2):
        assert await cache.get_many([answer, passages]) == [None, b"p"]
    assert redis.asked == [[answer, passages], [answer]]
    await cache.put(answer, b"a", 60, [])
    for _ in range(2):
        assert (await cache.get_many([answer, passages]))[0] == b"a"
    assert redis.asked[2:] == [[answer]]


async def test_only_the_first_that_was_found_is_kept(redis: Watched, clock: Clock) -> None:
    cache, keys = layered(redis, clock), keys_of(unique("q"))
    for key in keys:
        await cache.put(key, b"v", 60, [])
    assert await cache.get_many(keys) == [b"v", b"v"]
    assert cache.statistics()["local"]["entries"] == 1


async def test_an_entry_that_is_replaced_or_dropped_is_not_given_any_more(
    redis: Watched, clock: Clock
) -> None:
    cache, [key, _], tag = layered(redis, clock), keys_of(unique("q")), unique("tag")
    for value in (b"old", b"new"):
        await cache.put(key, value, 60, [tag])
        assert await cache.get_many([key]) == [value]
    assert await cache.drop(tag) == 1
    assert cache.statistics()["local"]["entries"] == 0


async def test_what_is_at_hand_is_given_while_redis_is_away(
    own_valkey: Valkey, clock: Clock
) -> None:
    redis = Watched(own_valkey.url)
    cache, keys = layered(redis, clock), keys_of("q")
    await cache.put(keys[0], b"v", 60, [])
    await cache.get_many(keys)
    own_valkey.stop()
    assert await cache.get_many(keys) == [b"v", None]
    assert redis.state == "ok"  # it was not even asked
    assert await cache.get_many(keys[1:]) == [None]
    assert await cache.get_many(keys) == [b"v", None]
    assert cache.statistics()["redis"] == {"state": "away", "refused": 0, "failed": 1, "skipped": 0}
    await redis.aclose()


async def test_everything_is_counted_by_layer_up_to_what_was_found(
    redis: Watched, clock: Clock
) -> None:
    cache, [answer, passages] = layered(redis, clock), keys_of(unique("q"))
    similar = cache.found_by("semantic")
    await cache.get_many([answer, passages])
    for key in (answer, passages):
        await cache.put(key, b"v", 60, [])
    for _ in range(3):
        await cache.get_many([answer, passages])
    assert cache.at_hand(answer) == b"v"
    assert (cache.at_hand(passages), cache.at_hand(unique("agent:response:{1}:gone"))) == (
        None,
        None,
    )
    await similar.get_many([answer])
    await similar.get_many([unique("agent:response:{1}:gone")])
    numbers = cache.statistics()
    assert numbers["answers"] == {"lookups": 5, "local_hits": 3, "shared_hits": 1, "puts": 1}
    assert numbers["passages"] == {"lookups": 1, "local_hits": 0, "shared_hits": 0, "puts": 1}
    assert numbers["semantic"] == {"lookups": 0, "local_hits": 1, "shared_hits": 0, "puts": 0}


async def test_without_room_or_redis_it_is_what_is_behind_it(redis: Watched, clock: Clock) -> None:
    cache, [key, _] = layered(redis, clock, limit_bytes=0), keys_of(unique("q"))
    await cache.put(key, b"v", 60, [])
    assert [await cache.get_many([key]) for _ in range(2)] == [[b"v"]] * 2
    assert redis.asked == [[key]] * 2
    nothing = layered(NoCache(), clock)
    await nothing.put(key, b"v", 60, [])
    assert await nothing.get_many([key]) == [None]
    assert nothing.statistics()["redis"]["state"] == "none"
