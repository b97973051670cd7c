"""One connection to Redis for all: whose reply is whose, whatever happens to it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from app.embedded import Servers
from app.embedded.valkey import Valkey
from app.stores.redis_client import open_redis
from app.stores.redis_line import RedisLine
from tests.support.live import unique

TIMEOUT = 0.2


@pytest.fixture
async def line(servers: Servers) -> AsyncIterator[RedisLine]:
    redis = open_redis(servers.redis_url)
    opened = RedisLine(redis, 5)
    yield opened
    await opened.aclose()
    await redis.aclose()


async def test_replies_come_in_the_order_of_the_commands(line: RedisLine) -> None:
    key = unique("key")
    assert await line.ask(("SET", key, b"\xff\0", "EX", 60), ("GET", key), ("TTL", key)) == [
        b"OK",
        b"\xff\0",
        60,
    ]
    assert await line.ask(("MGET", key, "no such key")) == [[b"\xff\0", None]]


async def test_all_who_come_at_once_share_a_connection(line: RedisLine) -> None:
    ids = await asyncio.gather(*(line.ask(("CLIENT", "ID"), ("ECHO", n)) for n in range(500)))
    assert len({number for number, _ in ids}) == 1
    assert [echo for _, echo in ids] == [str(n).encode() for n in range(500)]


async def test_a_refused_command_is_an_error_and_the_others_are_done(line: RedisLine) -> None:
    key = unique("key")
    with pytest.raises(ResponseError, match="not an integer"):
        await line.ask(("SET", key, "text", "EX", 60), ("INCR", key), ("APPEND", key, "!"))
    assert await line.ask(("GET", key)) == [b"text!"]


async def test_what_was_asked_by_somebody_who_left_is_nobodys_reply(line: RedisLine) -> None:
    await line.ask(("PING",))
    asking = [asyncio.create_task(line.ask(("ECHO", n), ("ECHO", -n))) for n in range(100)]
    await asyncio.sleep(0)  # each has written
    for task in asking[::3]:
        task.cancel()
    replies = await asyncio.gather(*asking, return_exceptions=True)
    for n, reply in enumerate(replies):
        if n % 3:
            assert reply == [str(n).encode(), str(-n).encode()]
        else:
            assert isinstance(reply, asyncio.CancelledError)


async def test_a_connection_that_the_server_closed_is_replaced(
    line: RedisLine, servers: Servers
) -> None:
    [first] = await line.ask(("CLIENT", "ID"))
    async with Redis.from_url(servers.redis_url) as other:
        await other.client_kill_filter(_id=str(first))
    async with asyncio.timeout(5):
        while line._transport is not None:  # noqa: ASYNC110 — until the event loop has heard it
            await asyncio.sleep(0)
    assert await line.ask(("CLIENT", "ID")) != [first]


async def test_a_server_that_hangs_fails_all_who_wait_and_then_the_line_is_new(
    tmp_path: Path, own_valkey: Valkey
) -> None:
    """It takes the connection and then says nothing, which is not to be waited for twice."""
    heard = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting, answers = await asyncio.open_unix_connection(str(own_valkey.socket))
        try:
            while data := await reader.read(65536):
                if b"PING" in data:
                    heard.set()
                    continue
                answers.write(data)
                writer.write(await greeting.read(65536))
        finally:
            answers.close()
            writer.close()

    address = tmp_path / "hanging.sock"
    redis = open_redis(f"unix://{address}")
    line = RedisLine(redis, TIMEOUT)
    async with await asyncio.start_unix_server(hang, address):
        began = time.monotonic()
        failed = await asyncio.gather(
            *(line.ask(("PING",)) for _ in range(50)), return_exceptions=True
        )
        assert {type(each) for each in failed} == {TimeoutError}
        assert heard.is_set()
        assert time.monotonic() - began < 10 * TIMEOUT
        assert await line.ask(("ECHO", "new")) == [b"new"]
        await line.aclose()
    await redis.aclose()


async def test_closing_fails_who_waits(servers: Servers) -> None:
    redis = open_redis(servers.redis_url)
    line = RedisLine(redis, 5)
    await line.ask(("PING",))
    waiting = asyncio.create_task(line.ask(("BLPOP", unique("key"), 60)))
    await asyncio.sleep(0)
    await line.aclose()
    with pytest.raises(RedisConnectionError):
        await waiting
    await redis.aclose()
