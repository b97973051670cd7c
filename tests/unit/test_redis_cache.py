"""The cache on a real Valkey: whatever happens to it, a look-up is a hit or a miss, in time."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.embedded import Servers
from app.embedded.home import open_home
from app.embedded.valkey import Valkey
from app.stores.redis_cache import MAX_IN_FLIGHT, RedisCache, spread
from tests.support.live import unique

TIMEOUT = 0.2


def open_cache(url: str, timeout_seconds: float = TIMEOUT) -> RedisCache:
    return RedisCache(url, timeout_seconds=timeout_seconds, retry_after_seconds=0.1)


@pytest.fixture
async def cache(servers: Servers) -> AsyncIterator[RedisCache]:
    opened = open_cache(servers.redis_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def own_valkey(server_folder: Path) -> AsyncIterator[Valkey]:
    """A server that this test may stop and kill."""
    folder = server_folder / unique("valkey")
    folder.mkdir(mode=0o711)
    valkey = Valkey(open_home(folder), folder)
    await valkey.start()
    yield valkey
    valkey.stop()


async def until_hit(cache: RedisCache, key: str, value: bytes) -> None:
    """Wait until the entry is found again, storing it anew where the server has lost it."""
    async with asyncio.timeout(2):
        while await cache.get_many([key]) != [value]:
            await cache.put(key, value, 60, ["t"])
            await asyncio.sleep(0.01)  # without Redis neither of them waits for anything


async def test_entries_are_found_by_key_and_freed_by_tag(cache: RedisCache) -> None:
    tag, other = unique("tag"), unique("tag")
    keys = [unique("key") for _ in range(3)]
    await cache.put(keys[0], b"\xff\0one", 60, [tag])
    await cache.put(keys[1], b"two", 60, [tag, other])
    assert await cache.get_many(keys) == [b"\xff\0one", b"two", None]
    assert await cache.drop(other) == 1
    assert await cache.get_many(keys) == [b"\xff\0one", None, None]
    assert await cache.drop(tag) == 1
    assert await cache.drop(tag) == 0


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


async def test_a_thousand_look_ups_at_once_all_hit(cache: RedisCache) -> None:
    key = unique("key")
    await cache.put(key, b"v", 60, [])
    for _ in range(2):
        found = await asyncio.gather(*(cache.get_many([key]) for _ in range(10 * MAX_IN_FLIGHT)))
        assert found == [[b"v"]] * (10 * MAX_IN_FLIGHT)


async def test_a_refused_write_does_not_take_the_reads_away(
    cache: RedisCache, servers: Servers
) -> None:
    key, tag = unique("key"), unique("tag")
    await cache.put(key, b"v", 60, [])
    async with Redis.from_url(servers.redis_url) as redis:
        await redis.set(f"cache:index:{tag}", b"no sorted set", ex=60)
    await cache.put(unique("key"), b"v", 60, [tag])
    assert await cache.get_many([key]) == [b"v"]


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
        assert clock() - began < TIMEOUT / 2
    finally:
        process.send_signal(signal.SIGCONT)
    await until_hit(cache, "k", b"v")
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
