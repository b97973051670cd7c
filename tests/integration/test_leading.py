"""One leader a key over processes, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from app.embedded import Servers
from app.stores.leading import RedisLeading
from app.stores.redis_cache import RedisCache


@pytest.fixture
async def cache(servers: Servers) -> AsyncIterator[RedisCache]:
    cache = RedisCache(servers.redis_url, timeout_seconds=5, retry_after_seconds=1)
    yield cache
    await cache.aclose()


@pytest.fixture
async def one(cache: RedisCache) -> AsyncIterator[RedisLeading]:
    leading = RedisLeading(cache)
    yield leading
    await leading.aclose()


@pytest.fixture
async def other(cache: RedisCache) -> AsyncIterator[RedisLeading]:
    leading = RedisLeading(cache)
    yield leading
    await leading.aclose()


async def until(leading: RedisLeading, key: str, run_id: UUID | None) -> None:
    async with asyncio.timeout(10):
        while await leading.leader(key) != run_id:
            pass


async def test_the_first_one_leads_for_as_long_as_it_is_at_it(
    one: RedisLeading, other: RedisLeading
) -> None:
    key, first, second = str(uuid4()), uuid4(), uuid4()
    assert await one.lead(key, first) is None
    assert await other.lead(key, second) == first
    assert await other.leader(key) == first
    other.let_go(key, second)  # it never led
    assert await other.leader(key) == first
    one.let_go(key, first)
    await until(other, key, None)
    assert await other.lead(key, second) is None


async def test_beats_outlast_the_life_of_a_key(
    one: RedisLeading, other: RedisLeading, cache: RedisCache
) -> None:
    key, first = str(uuid4()), uuid4()
    await one.lead(key, first)
    lives = []
    async with asyncio.timeout(10):
        while len(lives) < 3 or not any(b > a for a, b in pairwise(lives)):
            lives.append(await cache.attempt(lambda redis: redis.pttl(f"flight:{key}"), 0))
    assert min(lives) > 0
    assert await other.leader(key) == first


async def test_a_leader_that_is_silent_is_one_no_more(
    one: RedisLeading, other: RedisLeading
) -> None:
    key, first, second = str(uuid4()), uuid4(), uuid4()
    await one.lead(key, first)
    one._beating.cancel()  # as if its process were killed
    await until(other, key, None)
    assert await other.lead(key, second) is None


async def test_closing_lets_go_at_once(one: RedisLeading, other: RedisLeading) -> None:
    key = str(uuid4())
    await one.lead(key, uuid4())
    await one.aclose()
    assert await other.leader(key) is None


async def test_without_redis_everybody_leads() -> None:
    cache = RedisCache("redis://127.0.0.1:9", timeout_seconds=0.2, retry_after_seconds=60)
    leading = RedisLeading(cache)
    try:
        assert await leading.lead("key", uuid4()) is None
        assert await leading.leader("key") is None
    finally:
        await leading.aclose()
        await cache.aclose()
