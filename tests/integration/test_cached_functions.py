"""`@cached` of two processes' worth of engines on one Valkey."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from app.chat.cache import tenant_tag
from app.chat.cached import Cached
from app.chat.model import Scope
from app.embedded import Servers
from app.stores.hottest import Hottest
from app.stores.local_cache import LocalCache
from app.stores.redis_cache import RedisCache


@pytest.fixture
async def processes(servers: Servers) -> AsyncIterator[tuple[Cached, Cached]]:
    installation = uuid4().hex

    async def scope() -> Scope:
        return Scope(1)

    async with AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            redis = RedisCache(servers.redis_url, timeout_seconds=1, retry_after_seconds=1)
            stack.push_async_callback(redis.aclose)
            local = LocalCache(redis, Hottest(1 << 20, 10.0))
            made.append(Cached(local, scope, installation))
            stack.push_async_callback(made[-1].close)
        yield made[0], made[1]


async def test_what_one_process_called_another_finds_until_it_is_invalidated(
    processes: tuple[Cached, Cached],
) -> None:
    calls: list[int] = []

    async def price(item: str) -> dict[str, int]:
        calls.append(number)
        return {item: len(calls)}

    one, other = (process(ttl=60)(price) for process in processes)
    number = 1
    assert await one("tea") == {"tea": 1}
    number = 2
    assert await other("tea") == {"tea": 1}
    await other.invalidate("tea")
    assert await other("tea") == {"tea": 2}
    assert await one("tea") == {"tea": 2}
    assert calls == [1, 2]


async def test_the_tenants_invalidation_drops_it(processes: tuple[Cached, Cached]) -> None:
    one, _ = processes

    @one(ttl=60, scope=Scope(int(uuid4().int % 2**40)))
    async def price(item: str) -> int:
        return 1

    await price("tea")
    assert price._scope is not None
    assert await one.cache.drop(tenant_tag(price._scope.tenant_id)) == 1
