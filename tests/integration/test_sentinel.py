"""Redis behind Sentinel: the master is found, and followed when it is another one."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest

from app.bootstrap import migrate
from app.embedded import Servers
from app.settings import ConfigurationError, Settings
from app.stores.leading import RedisLeading
from app.stores.redis_cache import RedisCache
from app.stores.redis_client import open_redis
from tests.support.live import live_service
from tests.support.sentinels import Watched, watched
from tests.support.waiting import LONG_PAUSE_SECONDS, until


@pytest.fixture
async def site() -> AsyncIterator[Watched]:
    async with watched() as running:
        yield running


@asynccontextmanager
async def caching(url: str) -> AsyncIterator[RedisCache]:
    cache = RedisCache(url, timeout_seconds=2.0, retry_after_seconds=0.1)
    try:
        yield cache
    finally:
        await cache.aclose()


async def stored(cache: RedisCache, value: bytes) -> bool:
    """Whether a value comes back: the cache is there, and takes what is written."""
    key = uuid4().hex
    await cache.put(key, value, 60, ["tag"])
    return await cache.get_many([key]) == [value]


async def follows(site: Watched, cache: RedisCache) -> None:
    """Wait until what is written reaches the second server, as its master."""
    await until(lambda: stored(cache, b"after"), pause=LONG_PAUSE_SECONDS)
    assert await site.is_master(site.second)
    async with site.server(site.second) as server:
        assert await server.dbsize() > 0


async def is_no_master(site: Watched, port: int) -> bool:
    return not await site.is_master(port)


async def test_the_master_is_found_past_a_sentinel_that_is_away(site: Watched) -> None:
    async with caching(site.url) as cache:
        assert await stored(cache, b"before")
        async with site.server(site.first) as server:  # in the database of the address
            assert len(await server.keys("*")) > 0
    async with open_redis(site.url) as redis:
        assert (await redis.execute_command("ROLE"))[0] == b"master"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_lost_master_is_left_for_the_next(site: Watched, how: signal.Signals) -> None:
    """Killed, or hanging with its connections open."""
    async with caching(site.url) as cache:
        assert await stored(cache, b"before")
        await site.lose(site.first, how)
        assert await cache.get_many(["any"]) == [None]
        assert cache.state == "away"
        await follows(site, cache)
        assert cache.state == "ok"


async def test_a_planned_failover_is_followed(site: Watched) -> None:
    async with caching(site.url) as cache:
        assert await stored(cache, b"before")
        await site.fail_over()
        await until(lambda: site.is_master(site.second))
        await until(lambda: is_no_master(site, site.first))
        await follows(site, cache)


async def test_processes_lead_on_the_new_master(site: Watched) -> None:
    async with caching(site.url) as one, caching(site.url) as other:

        async def ended(_: UUID) -> None:
            return None

        leading, following = (RedisLeading(each, ended) for each in (one, other))
        try:
            await site.lose(site.first)
            await follows(site, one)
            await follows(site, other)

            async def one_leads() -> bool:
                key, run = uuid4().hex, uuid4()
                assert await leading.lead(key, run) is None
                return await following.lead(key, uuid4()) == run

            await until(one_leads, pause=LONG_PAUSE_SECONDS)
        finally:
            await leading.aclose()
            await following.aclose()


async def test_without_a_sentinel_there_is_no_redis(site: Watched) -> None:
    for port in site.sentinels:
        await site.lose(port)
    async with caching(site.url) as cache:
        assert await asyncio.wait_for(cache.ping(), 10) is False
        assert cache.state == "away"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis+cluster://one:6379/1", "write redis\\+cluster://user:password@host"),
        ("redis+cluster://:secret@one:6379,", "there are no options"),
        ("redis+cluster://one?timeout=3", "with some of the cluster's servers"),
        ("rediss+cluster://one", "TLS to several servers is not supported"),
        ("rediss+sentinel://one/shop", "TLS to several servers is not supported"),
        ("redis+sentinel://one:26379", "write redis\\+sentinel://user:password@host"),
        ("redis+sentinel://one/shop?timeout=3", "the other options are sentinel_username"),
        ("http://one", "begins with redis://"),
    ],
)
def test_other_addresses_are_refused(url: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as refused:
        Settings(redis_url=url)
    assert url not in str(refused.value)


async def test_a_service_answers_throughout(
    site: Watched, fresh_database: Callable[[], Awaitable[Servers]], encoder_url: str
) -> None:
    database = await fresh_database()
    settings = Settings(
        database_url=database.app_url,
        database_owner_url=database.owner_url,
        redis_url=site.url,
        encoder={"url": encoder_url},
        features={"semantic_cache": False},
        cache={"local_mb": 0, "timeout_seconds": 2.0, "retry_after_seconds": 0.1},
    )
    await migrate(settings)
    async with live_service(**settings.model_dump(exclude_unset=True)) as service:
        portfolio = await service.portfolio("s", Leave="Everyone has 30 days of leave a year.")
        agent = await service.agent("s", portfolio)

        async def is_cached() -> bool:
            whole = await service.ask(agent, "How many days of leave are there?")
            assert "30 days" in whole["answer"]
            return bool(whole["cached"])

        assert not await is_cached()
        assert await is_cached()
        await site.lose(site.first)
        assert not await is_cached()
        await until(is_cached, pause=LONG_PAUSE_SECONDS)
        events = await service.stream(agent, "Who has 30 days of leave?")
        assert events[-1]["type"] == "done"
