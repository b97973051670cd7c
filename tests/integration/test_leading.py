"""One leader a key over processes, on a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest

from app.embedded import Servers
from app.errors import Unavailable
from app.stores.leading import RedisLeading
from app.stores.redis_cache import RedisCache
from tests.support.waiting import until


@pytest.fixture
async def cache(servers: Servers) -> AsyncIterator[RedisCache]:
    cache = RedisCache(servers.redis_url, timeout_seconds=5, retry_after_seconds=1)
    yield cache
    await cache.aclose()


async def ended(run_id: UUID) -> None:
    """What the run said is there for others at once."""


@asynccontextmanager
async def process(
    cache: RedisCache, ended: Callable[[UUID], Awaitable[None]] = ended
) -> AsyncIterator[RedisLeading]:
    leading = RedisLeading(cache, ended)
    try:
        await until(lambda: leading.living)
        yield leading
    finally:
        await leading.aclose()


@pytest.fixture
async def one(cache: RedisCache) -> AsyncIterator[RedisLeading]:
    async with process(cache) as leading:
        yield leading


@pytest.fixture
async def other(cache: RedisCache) -> AsyncIterator[RedisLeading]:
    async with process(cache) as leading:
        yield leading


async def until_led(leading: RedisLeading, key: str, run_id: UUID | None) -> None:
    async def led() -> bool:
        return await leading.leader(key) == run_id

    await until(led)


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
    await until_led(other, key, None)
    assert await other.lead(key, second) is None


async def test_a_leader_whose_process_is_gone_is_one_no_more(
    one: RedisLeading, other: RedisLeading
) -> None:
    key, first, second = str(uuid4()), uuid4(), uuid4()
    await one.lead(key, first)
    for task in (one._beating, *one._lives.values()):
        task.cancel()  # its connection ends with it, as if its process were killed
    await until_led(other, key, None)
    assert await other.lead(key, second) is None
    assert await other.leader(key) == second


async def test_of_one_process_the_latest_leads(one: RedisLeading, other: RedisLeading) -> None:
    key, first, second = str(uuid4()), uuid4(), uuid4()
    await one.lead(key, first)
    assert await one.lead(key, second) is None
    one.let_go(key, first)
    assert await other.lead(key, uuid4()) == second


async def test_a_leader_goes_when_others_have_its_end(one: RedisLeading, cache: RedisCache) -> None:
    key, first, end = str(uuid4()), uuid4(), asyncio.Event()

    async def wait(run_id: UUID) -> None:
        assert run_id == first
        await end.wait()

    async with process(cache, wait) as slow:
        await slow.lead(key, first)
        slow.let_go(key, first)
        assert await one.leader(key) == first
        end.set()
        await until_led(one, key, None)


async def test_closing_lets_go_at_once(one: RedisLeading, other: RedisLeading) -> None:
    key = str(uuid4())
    await one.lead(key, uuid4())
    await one.aclose()
    assert await other.leader(key) is None


async def test_without_redis_everybody_leads() -> None:
    cache = RedisCache("redis://127.0.0.1:9", timeout_seconds=0.2, retry_after_seconds=60)
    leading = RedisLeading(cache, ended)
    try:
        assert await leading.lead("key", uuid4()) is None
        with pytest.raises(Unavailable):
            await leading.leader("key")
    finally:
        await leading.aclose()
        await cache.aclose()
