"""The cache on a real Valkey: whatever happens to it, a look-up is a hit or a miss, in time."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.embedded import Servers
from app.embedded.valkey import Valkey
from app.stores.redis_cache import RedisCache, spread
from app.stores.tag_index import FREED_AT_ONCE
from tests.support.live import unique

TIMEOUT = 0.2


def open_cache(url: str, timeout_seconds: float = TIMEOUT) -> RedisCache:
    return RedisCache(url, timeout_seconds=timeout_seconds, retry_after_seconds=0.1)


@pytest.fixture
async def cache(servers: Servers) -> AsyncIterator[RedisCache]:
    opened = open_cache(servers.redis_url)
    yield opened
    await opened.aclose()


async def until_hit(cache: RedisCache, key: str, value: bytes) -> None:
    """Wait until the entry is found again, storing it anew where the server has lost it."""
    async with asyncio.timeout(2):
        while await cache.get_many([key]) != [value]:
            await cache.put(key, value, 60, ["t"])
            await asyncio.sleep(0.01)  # without Redis neither of them waits for anything


async def until_gone(cache: RedisCache, keys: list[str]) -> None:
    """Wait until what was dropped in the background is freed."""
    async with asyncio.timeout(5):
        while any(await cache.get_many(keys)):
            pass


async def test_entries_are_found_by_key_and_freed_by_tag(cache: RedisCache) -> None:
    tag, other = unique("tag"), unique("tag")
    keys = [unique("key") for _ in range(3)]
    await cache.put(keys[0], b"\xff\0one", 60, [tag])
    await cache.put(keys[1], b"two", 60, [tag, other])
    assert await cache.get_many(keys) == [b"\xff\0one", b"two", None]
    assert await cache.drop(other) == 1
    assert await cache.drop(other) == 0
    assert await cache.drop(tag) == 1  # the other one is not counted again
    await until_gone(cache, keys)


async def test_dropping_takes_the_same_commands_for_few_entries_as_for_many(
    own_valkey: Valkey,
) -> None:
    cache, asked = open_cache(own_valkey.url, timeout_seconds=60), []
    async with Redis.from_url(own_valkey.url) as redis:
        for count in (3, 3 * FREED_AT_ONCE):
            tags = [unique("tag"), unique("tag")]
            await asyncio.gather(*(cache.put(unique("key"), b"v", 60, tags) for _ in range(count)))
            await redis.config_resetstat()
            assert await cache.drop(tags[0]) == count
            for task in cache._freeing:
                task.cancel()  # it has not begun: what was asked until now is all there is to wait
            stats = await redis.info("commandstats")
            asked.append({name: each["calls"] for name, each in stats.items()})
    once = ("config|resetstat", "eval", "zrangebyscore", "zcount", "rename")
    assert asked == [{f"cmdstat_{name}": 1 for name in once}] * 2
    await cache.aclose()


async def test_what_was_dropped_is_freed_behind_the_answer(own_valkey: Valkey) -> None:
    cache, tag = open_cache(own_valkey.url, timeout_seconds=5), unique("tag")
    keys = [unique("key") for _ in range(3 * FREED_AT_ONCE)]
    for number, key in enumerate(keys):
        await cache.put(key, b"v", 60, [tag, f"portfolio {number % 3}"])
    await cache.put(other := unique("key"), b"v", 60, ["another"])
    assert await cache.drop(tag) == len(keys)
    await until_gone(cache, keys)
    assert await cache.get_many([other]) == [b"v"]
    await cache.put(keys[0], b"v", 60, [tag, "portfolio 0"])
    assert await cache.drop(tag) == 1
    await cache.aclose()


async def test_what_a_process_that_ends_has_not_freed_ends_by_itself(own_valkey: Valkey) -> None:
    cache, tag = open_cache(own_valkey.url), unique("tag")
    await cache.put("k", b"v", 60, [tag])
    assert await cache.drop(tag) == 1
    await cache.aclose()
    async with Redis.from_url(own_valkey.url) as redis:
        names = [name async for name in redis.scan_iter()]
        assert any(name.startswith(b"cache:dropped:") for name in names)
        assert all([0 < await redis.ttl(name) <= 60 for name in names])


async def test_entries_that_have_ended_are_not_counted(cache: RedisCache, servers: Servers) -> None:
    tag = unique("tag")
    await cache.put(unique("key"), b"v", 60, [tag])
    async with Redis.from_url(servers.redis_url) as redis:
        [index] = await redis.zrange(f"cache:indexes:{tag}", 0, -1)
        await redis.zadd(index, {"ended": time.time() - 1})
    assert await cache.drop(tag) == 1


async def test_cancelled_commands_never_hand_out_another_keys_value(servers: Servers) -> None:
    """ChatGPT, 20 March 2023: a cancelled command left its answer for the next user."""
    cache = open_cache(servers.redis_url, timeout_seconds=5)
    prefix, chance = unique("cancel"), random.Random(7)
    values = {f"{prefix}:{n}": f"value of {prefix}:{n}".encode() * 40 for n in range(50)}
    for key, value in values.items():
        await cache.put(key, value, 60, [prefix])
    places, hits = asyncio.Semaphore(100), 0

    async def look_up(number: int) -> None:
        nonlocal hits
        keys = chance.sample(sorted(values), 2)
        write = number % 5 == 0
        async with places:
            task: asyncio.Task[object] = asyncio.create_task(
                cache.put(keys[0], values[keys[0]], 60, [prefix]) if write else cache.get_many(keys)
            )
            for _ in range(chance.randrange(25)):
                await asyncio.sleep(0)
            if chance.random() < 0.7:
                task.cancel()
            [found] = await asyncio.gather(task, return_exceptions=True)
        if isinstance(found, list):
            assert found == [values[key] for key in keys]
            hits += 1

    await asyncio.gather(*(look_up(number) for number in range(2000)))
    assert hits > 200
    everything = sorted(values)
    assert await cache.get_many(everything) == [values[key] for key in everything]
    await cache.aclose()


async def test_a_thousand_look_ups_at_once_all_hit(servers: Servers) -> None:
    cache, key = open_cache(servers.redis_url, timeout_seconds=5), unique("key")
    await cache.put(key, b"v", 60, [])
    for _ in range(2):
        found = await asyncio.gather(*(cache.get_many([key]) for _ in range(1000)))
        assert found == [[b"v"]] * 1000
    await cache.aclose()


async def test_a_refused_write_does_not_take_the_reads_away(
    cache: RedisCache, servers: Servers
) -> None:
    key, tag = unique("key"), unique("tag")
    await cache.put(key, b"v", 60, [])
    async with Redis.from_url(servers.redis_url) as redis:
        await redis.set(f"cache:indexes:{tag}", b"no sorted set", ex=60)
    await cache.put(unique("key"), b"v", 60, [tag])
    assert await cache.drop(tag) == 0
    assert await cache.get_many([key]) == [b"v"]
    assert (cache.state, cache.counts.of_server()["refused"]) == ("ok", 2)


async def test_a_hung_server_costs_one_timeout_and_hits_return(own_valkey: Valkey) -> None:
    clock = asyncio.get_running_loop().time
    cache = open_cache(own_valkey.url)
    await cache.put("k", b"v", 60, ["t"])
    process = own_valkey._server.process  # type: ignore[union-attr]
    process.send_signal(signal.SIGSTOP)
    try:
        began = clock()
        assert await asyncio.gather(*(cache.get_many(["k"]) for _ in range(200))) == [[None]] * 200
        assert clock() - began < TIMEOUT + 0.3
        began = clock()
        for _ in range(100):
            assert await cache.get_many(["k"]) == [None]
        assert not await cache.ping()
        assert cache.state == "away"
        numbers = cache.counts.of_server()
        assert (numbers["refused"], numbers["failed"] + numbers["skipped"]) == (0, 301)
        assert clock() - began < TIMEOUT / 2
    finally:
        process.send_signal(signal.SIGCONT)
    await until_hit(cache, "k", b"v")
    assert cache.state == "ok"
    await cache.aclose()


async def test_a_killed_server_is_a_miss_until_it_is_back(own_valkey: Valkey) -> None:
    cache = open_cache(own_valkey.url)
    await cache.put("k", b"v", 60, ["t"])
    own_valkey._server.kill()  # type: ignore[union-attr]
    assert await cache.get_many(["k"]) == [None]
    await cache.put("k", b"v", 60, ["t"])
    assert await cache.drop("t") == 0
    await own_valkey.start()
    await until_hit(cache, "k", b"v")
    await cache.aclose()


async def test_a_server_that_speaks_nonsense_is_a_miss_until_it_makes_sense(
    own_valkey: Valkey, tmp_path: Path
) -> None:
    asked = asyncio.Queue[None]()

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        asked.put_nowait(None)
        writer.write(b":nonsense\r\n")
        writer.close()

    address = tmp_path / "valkey.sock"
    cache = open_cache(f"unix://{address}")
    async with await asyncio.start_unix_server(nonsense, address), asyncio.timeout(5):
        assert await cache.get_many(["k"]) == [None]
        for _ in range(3):  # the look-up, then two probes that fail in a way of their own
            await asked.get()
    address.unlink()
    address.symlink_to(own_valkey.socket)
    await until_hit(cache, "k", b"v")
    await cache.aclose()


def test_entries_that_are_put_in_together_do_not_end_together() -> None:
    lives = [spread(f"key {number}", 3600) for number in range(1000)]
    assert 3240 <= min(lives) < 3260 < 3580 < max(lives) <= 3600
    assert len(set(lives)) > 200
    assert spread("key 1", 3600) == spread("key 1", 3600)
    assert spread("a", 1) == 1
