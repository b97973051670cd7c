"""What several processes have measured, on a real Valkey: added up, and honest without it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.embedded import Servers
from app.embedded.home import open_home
from app.embedded.valkey import Valkey
from app.performance.monitor import PerformanceMonitor
from app.stores.performance import KEPT_SECONDS, SharedPerformance
from app.stores.redis_cache import RedisCache
from tests.support.live import unique

Open = Callable[..., SharedPerformance]


def monitor_of(*load_ms: float) -> PerformanceMonitor:
    monitor = PerformanceMonitor(lambda: 0.0)
    for each in load_ms:
        monitor.observe({"load": each})
    return monitor


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    client = Redis.from_url(servers.redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def installation() -> str:
    return unique("installation")


@pytest.fixture
async def share(servers: Servers, installation: str) -> AsyncIterator[Open]:
    """Make a process of one installation: `share(monitor, "name")`."""
    opened: list[RedisCache] = []

    def make(monitor: PerformanceMonitor, process: str) -> SharedPerformance:
        cache = RedisCache(servers.redis_url, timeout_seconds=1, retry_after_seconds=0.1)
        opened.append(cache)
        return SharedPerformance(
            monitor, cache, installation=installation, process=f"host:1/{process}"
        )

    yield make
    for cache in opened:
        await cache.aclose()


async def test_a_report_is_of_all_processes(share: Open) -> None:
    there = [share(monitor_of(10, 20), "1"), share(monitor_of(30, 40, 50), "2")]
    for each in there:
        await each.publish()
    mine = monitor_of()
    here = share(mine, "3")
    await here.publish()
    mine.observe({"load": 60})  # this process's are of this moment
    found = await here.report()
    assert (found["scope"], found["processes"], found["unreadable"]) == ("all", 3, 0)
    load = found["since_start"]["stages"]["load"]
    assert (load["count"], load["max_ms"], load["mean_ms"]) == (6, 60, 35)
    assert load["p50_ms"] == pytest.approx(30, rel=0.01)
    assert found["last_5_minutes"]["stages"] == found["since_start"]["stages"]
    assert (await there[0].report())["since_start"] == found["since_start"]


async def test_one_that_is_gone_is_forgotten_and_another_version_left_out(
    share: Open, redis: Redis, installation: str
) -> None:
    here, gone, strange = (share(monitor_of(1), name) for name in ("here", "gone", "strange"))
    for each in (here, gone, strange):
        await each.publish()
    keys = {key async for key in redis.scan_iter(f"*{installation}*")}
    assert all([0 < await redis.ttl(key) <= KEPT_SECONDS for key in keys])
    named = {key.decode().rpartition("/")[2]: key for key in keys if b"/" in key}
    assert set(named) == {"here", "gone", "strange"}
    (members,) = keys - set(named.values())
    await redis.delete(named["gone"])  # which is what expiring is
    await redis.set(named["strange"], b"[99]")
    found = await here.report()
    assert (found["processes"], found["unreadable"]) == (1, 1)
    assert await redis.smembers(members) == {b"host:1/here", b"host:1/strange"}
    await gone.publish()
    assert (await here.report())["processes"] == 2


async def test_without_redis_a_report_says_that_it_is_of_this_process(server_folder: Path) -> None:
    folder = server_folder / unique("valkey")
    folder.mkdir(mode=0o711)
    valkey = Valkey(open_home(folder), folder)
    await valkey.start()
    cache = RedisCache(valkey.url, timeout_seconds=0.2, retry_after_seconds=60)
    names = {"installation": "a", "process": "host:1/1"}
    try:
        one = SharedPerformance(monitor_of(1), cache, **names)
        assert (await one.report())["scope"] == "all"
        valkey.stop()
        found = await one.report()
        assert (found["scope"], found["processes"]) == ("process", 1)
        assert found["since_start"]["stages"]["load"]["count"] == 1
    finally:
        await cache.aclose()
        valkey.stop()
    alone = await SharedPerformance(monitor_of(1, 2), None, **names).report()
    assert (alone["scope"], alone["processes"]) == ("process", 1)
