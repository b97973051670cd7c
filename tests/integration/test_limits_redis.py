"""Limits that all processes share, on a real Valkey: the same answers as a process's own."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.chat.model import Scope
from app.embedded import Servers
from app.limits.limiter import Limiter
from app.limits.local import LocalCounts
from app.limits.rules import Limit, Limits, Rule, refusal
from app.stores.limits import RedisCounts
from app.stores.redis_cache import RedisCache
from tests.support.live import unique

REQUESTS = Rule("requests", "user", "user:1", 20, 1)
TENANT = Rule("requests", "tenant", "tenant", 50, 1)
STREAMS = Rule("streams", "user", "user:1", 3, 1)


@pytest.fixture
async def cache(servers: Servers) -> AsyncIterator[RedisCache]:
    cache = RedisCache(servers.redis_url, timeout_seconds=5, retry_after_seconds=0.05)
    yield cache
    await cache.aclose()


@pytest.fixture
def counts(cache: RedisCache) -> RedisCounts:
    return RedisCounts(cache, unique("test"))


async def test_a_hundred_at_once_take_no_more_than_there_is(counts: RedisCounts) -> None:
    taken = await asyncio.gather(*(counts.take(1, [REQUESTS, TENANT], "-") for _ in range(100)))
    assert sum(each is not None and refusal(each) is None for each in taken) == 20
    [_, tenant] = await counts.take(1, [replace(REQUESTS, subject="user:2"), TENANT], "-") or ()
    assert tenant.level.remaining == 29  # what was refused took nothing of the tenant's


async def test_tenants_and_installations_share_nothing(
    counts: RedisCounts, cache: RedisCache
) -> None:
    one = replace(REQUESTS, limit=1)
    for own in (counts, RedisCounts(cache, unique("test"))):
        for tenant in (1, 2):
            allowed = [refusal(await own.take(tenant, [one], "-") or ()) is None for _ in "12"]
            assert allowed == [True, False]


async def test_the_script_decides_as_the_bucket_does(counts: RedisCounts) -> None:
    """Both get the same; the clocks go on by milliseconds, which is less than one token."""
    local = LocalCounts(lambda: 1000.0, share=1)
    source = random.Random(7)
    for _ in range(200):
        rule = Rule("tokens", "user", f"user:{source.randrange(8)}", 10, source.randrange(1, 14))
        if source.random() < 0.3:
            change = replace(rule, amount=source.randrange(-8, 8))
            await counts.adjust(1, [change])
            local.adjust(1, [change])
        [shared] = await counts.take(1, [rule], "-") or ()
        [own] = local.take(1, [rule])
        assert shared.level.allowed == own.level.allowed
        assert shared.level.remaining == pytest.approx(own.level.remaining, abs=1)
        assert shared.level.reset_seconds == pytest.approx(own.level.reset_seconds, abs=2)
        assert shared.level.wait_seconds == pytest.approx(own.level.wait_seconds, abs=2)


async def test_leases_end_when_they_are_given_back_or_kept_no_more(cache: RedisCache) -> None:
    counts = RedisCounts(cache, unique("test"), lease_seconds=0.3)

    async def has_room(lease: str) -> bool:
        return refusal(await counts.take(1, [STREAMS], lease) or ()) is None

    assert [await has_room(lease) for lease in "abcd"] == [True, True, True, False]
    await counts.end(1, [STREAMS], "a")
    assert await has_room("e")
    kept = {"e": [STREAMS]}
    async with asyncio.timeout(20):
        for lease in "fg":  # b and c were a killed process's, and lapse one after the other
            while not await has_room(lease):
                await counts.keep(1, kept)
            kept[lease] = [STREAMS]
    assert not await has_room("h")  # beside f and g: e was kept


async def test_every_key_has_its_tenant_and_an_end(counts: RedisCounts, cache: RedisCache) -> None:
    await counts.take(77, [REQUESTS, TENANT, STREAMS], "a")

    [found] = await cache.ask(("KEYS", "limits:{77}:*")) or [[]]
    assert len(found) == 3
    lives = await cache.ask(*(("PTTL", key) for key in found)) or []
    assert all(0 < milliseconds <= 120_000 for milliseconds in lives)


async def test_two_processes_stay_within_one_limit(cache: RedisCache) -> None:
    counts = RedisCounts(cache, unique("test"))
    limits = Limits(tenant=Limit(requests_per_minute=30, streams=5))
    processes = [Limiter(limits, counts, LocalCounts(lambda: 0.0, 4)) for _ in range(2)]
    admitted = await asyncio.gather(
        *(each.admit(Scope(1), requests=1, streams=1) for each in processes * 25)
    )
    held = [each for each in admitted if each.error is None]
    assert len(held) == 5
    for each in held:
        each.leave()
    for process in processes:
        await process.aclose()
    again = await asyncio.gather(*(processes[0].admit(Scope(1), streams=1) for _ in range(6)))
    assert sum(each.error is None for each in again) == 5
