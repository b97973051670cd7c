"""What an entry of the answers' cache takes in Redis beyond its value: the key, when it ends, and
what lets it be found by its tenant, agent and portfolio."""

import asyncio
from typing import cast

from redis.asyncio import Redis

from app.bench.figures import Figure
from app.bench.installation import Installation, Site
from app.bench.workers import WorkerFailed
from app.chat.cache import answer_key, part_tag, tenant_tag
from app.embedded.home import Home
from app.embedded.valkey import Valkey
from app.stores.redis_cache import RedisCache

BEYOND_BYTES = 1024
TTL_SECONDS = 3600
FIRST = 200


async def bench_items(running: Installation, items: int, rounds: int) -> Figure:
    """Each round's mean over so many entries, as large as an answer that the service has put in, on
    a Valkey where nobody else's memory comes and goes. Raises EmbeddedError, WorkerFailed."""
    found = await answer_in(running.site.servers.redis_url)
    folder = running.folder / "items"
    await asyncio.to_thread(folder.mkdir)
    valkey = Valkey(Home(folder, account=None), folder)
    try:
        await valkey.start()
        beyond = [await _beyond(running.site, valkey.url, found, items) for _ in range(rounds)]
    finally:
        valkey.stop()
    name = f"a cached answer of {len(found):,} bytes: what it takes in Redis beyond them"
    return Figure(name, "bytes", beyond, BEYOND_BYTES)


async def _beyond(site: Site, redis_url: str, value: bytes, items: int) -> float:
    redis = Redis.from_url(redis_url)
    try:
        await redis.flushdb()
        await put_answers(site, redis_url, value, FIRST)  # what a server takes with any of them
        before = await _used(redis)
        await put_answers(site, redis_url, value, items, start=FIRST)
        return (await _used(redis) - before) / items - len(value)
    finally:
        await redis.aclose()


async def answer_in(redis_url: str) -> bytes:
    """Some answer's value. Raises WorkerFailed."""
    redis = Redis.from_url(redis_url)
    try:
        async for key in redis.scan_iter("agent:response:*", 1000):
            return cast(bytes, await redis.get(key))
        raise WorkerFailed("Redis has no cached answer.")
    finally:
        await redis.aclose()


async def put_answers(
    site: Site, redis_url: str, value: bytes, count: int, *, start: int = 0
) -> None:
    """So many of other questions, numbered from `start`, as the service puts them."""
    library = site.agents.library
    tenant, agent = library.scope.tenant_id, next(iter(site.agents.made.values()))
    tags = [
        tenant_tag(tenant),
        part_tag("agent", tenant, agent),
        part_tag("portfolio", tenant, library.portfolio),
    ]
    cache = RedisCache(redis_url, timeout_seconds=TTL_SECONDS, retry_after_seconds=TTL_SECONDS)
    try:
        for number in range(start, start + count):
            await cache.put(answer_key(tenant, {"bench": number}), value, TTL_SECONDS, tags)
    finally:
        await cache.aclose()


async def _used(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])
