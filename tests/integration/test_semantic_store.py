"""The semantic cache's store on a real Valkey: what is found, kept, forgotten, and survived."""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from redis.asyncio import Redis

from app.embedded import Servers
from app.stores import semantic_cache
from app.stores.redis_cache import RedisCache
from app.stores.semantic_cache import MAX_QUESTIONS, PIECE, SPARE, RedisSemanticCache
from tests.support.live import unique

TTL = 60


def turned(degrees: float) -> list[float]:
    """A vector of length 1 whose cosine to `turned(0)` is that of the angle."""
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), 0.0, 0.0]


@pytest.fixture
async def cache(servers: Servers) -> AsyncIterator[RedisCache]:
    opened = RedisCache(servers.redis_url, timeout_seconds=1, retry_after_seconds=0.1)
    yield opened
    await opened.aclose()


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    client = Redis.from_url(servers.redis_url)
    yield client
    await client.aclose()


async def test_the_nearest_come_first_and_none_of_another_scope(cache: RedisCache) -> None:
    writer, reader = RedisSemanticCache(cache), RedisSemanticCache(cache)
    scope, other = unique("semantic"), unique("semantic")
    for degrees in (30, 10, 20, 5):
        await writer.add(scope, turned(degrees), f"at {degrees}", f"key {degrees}", TTL, [])
    await writer.add(other, turned(0), "elsewhere", "key", TTL, [])
    found = await reader.nearest(scope, turned(0), 0.93)
    assert [each.question for each in found] == ["at 5", "at 10", "at 20"]
    assert [each.answer_key for each in found] == ["key 5", "key 10", "key 20"]
    assert all(one.similarity >= next_.similarity for one, next_ in pairwise(found))
    assert found[0].similarity == pytest.approx(math.cos(math.radians(5)), abs=1e-3)
    assert await reader.nearest(unique("semantic"), turned(0), 0.5) == []


async def test_what_others_add_is_found_at_the_next_look(cache: RedisCache) -> None:
    here, there, scope = RedisSemanticCache(cache), RedisSemanticCache(cache), unique("semantic")
    for count in range(1, 4):
        await there.add(scope, turned(count), f"question {count}", "key", TTL, [])
        assert len(await here.nearest(scope, turned(0), 0.9)) == count


async def test_a_large_scope_is_read_in_pieces_once_and_keeps_the_newest(
    cache: RedisCache, redis: Redis
) -> None:
    store, scope = RedisSemanticCache(cache), unique("semantic")
    for count in range(MAX_QUESTIONS + 3 * PIECE):
        await store.add(scope, turned(90), f"question {count}", "key", TTL, [])
    await store.add(scope, turned(0), "the last", "key", TTL, [])
    assert await redis.xlen(scope) <= MAX_QUESTIONS + PIECE  # whole nodes are cut off
    fresh = RedisSemanticCache(cache)
    at_once = await asyncio.gather(*(fresh.nearest(scope, turned(0), 0.9) for _ in range(5)))
    assert [[each.question for each in found] for found in at_once] == [["the last"]] * 5
    assert len(await fresh.nearest(scope, turned(90), 0.9)) == semantic_cache.MAX_FOUND


async def test_a_process_that_keeps_up_knows_the_newest_and_no_others(cache: RedisCache) -> None:
    store, scope, chance = RedisSemanticCache(cache), unique("semantic"), random.Random(8)
    vectors = [[chance.gauss(0, 1) for _ in range(32)] for _ in range(2 * MAX_QUESTIONS + SPARE)]
    vectors = [[value / math.hypot(*each) for value in each] for each in vectors]

    async def found(number: int) -> bool:
        near = await store.nearest(scope, vectors[number], 0.99)
        return [each.question for each in near] == [f"question {number}"]

    for number, vector in enumerate(vectors):
        await store.add(scope, vector, f"question {number}", "key", TTL, [])
        if number % 7 == 0:
            oldest = max(0, number + 1 - MAX_QUESTIONS)
            assert await found(number) and await found(oldest)
            assert oldest == 0 or not await found(oldest - 1)


async def test_the_scopes_of_longest_ago_are_forgotten(
    cache: RedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(semantic_cache, "MAX_KEPT", 3)
    store, scopes = RedisSemanticCache(cache), [unique("semantic") for _ in range(5)]
    for scope in scopes:
        await store.add(scope, turned(0), scope, "key", TTL, [])
    for scope in [*scopes, scopes[0]]:
        assert [each.question for each in await store.nearest(scope, turned(0), 0.9)] == [scope]


async def test_entries_end_with_their_tag_and_their_time(cache: RedisCache, redis: Redis) -> None:
    store, scope, tag = RedisSemanticCache(cache), unique("semantic"), unique("tag")
    await store.add(scope, turned(0), "question", "key", TTL, [tag])
    assert 0 < await redis.ttl(scope) <= TTL
    assert await cache.drop(tag) == 1
    async with asyncio.timeout(5):
        while await RedisSemanticCache(cache).nearest(scope, turned(0), 0.9):
            pass  # it is freed behind the answer


async def test_damaged_entries_and_other_dimensions_are_none(
    cache: RedisCache, redis: Redis
) -> None:
    store, scope = RedisSemanticCache(cache), unique("semantic")
    for entry in (b"", b"\x04", b"\xff\xff\0", b"\x04\0" + b"\0" * 8 + b"{", b"\0\0[1]"):
        await redis.xadd(scope, {"e": entry})
    await redis.xadd(scope, {"another": b"field"})
    assert await store.nearest(scope, turned(0), 0.5) == []
    await store.add(scope, [1.0, 0.0], "of another encoder", "key", TTL, [])
    await store.add(scope, turned(0), "question", "key", TTL, [])
    assert [each.question for each in await store.nearest(scope, turned(0), 0.9)] == ["question"]
    assert await store.nearest(scope, [1.0, 0.0], 0.5) == []
    await redis.set(other := unique("semantic"), b"of another kind")
    assert await store.nearest(other, turned(0), 0.5) == []


async def test_without_redis_everything_is_a_miss(cache: RedisCache) -> None:
    away = RedisCache("redis://127.0.0.1:1", timeout_seconds=0.2, retry_after_seconds=0.05)
    store = RedisSemanticCache(away)
    await store.add("semantic:1", turned(0), "question", "key", TTL, ["tag"])
    assert await store.nearest("semantic:1", turned(0), 0.5) == []
    await away.aclose()
