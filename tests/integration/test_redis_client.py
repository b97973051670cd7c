"""A connection that is closed or reset where nobody looks, on the event loop that we run on."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.embedded import Servers
from app.stores.redis_client import open_redis
from tests.soak.proxy import Proxy
from tests.support.waiting import until


def on_uvloop(servers: Servers, do: Callable[[Redis, Proxy], Awaitable[None]]) -> None:
    """Do it with a client whose connections can be cut off."""

    async def run() -> None:
        async with Proxy(servers.redis_url.removeprefix("unix://")) as proxy:
            redis = open_redis(f"redis://127.0.0.1:{proxy.port}/0", socket_timeout=5)
            try:
                await do(redis, proxy)
            finally:
                await redis.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("by_reset", [True, False])
def test_one_that_ended_in_the_pool_is_not_lent_again(servers: Servers, by_reset: bool) -> None:
    async def do(redis: Redis, proxy: Proxy) -> None:
        first = await redis.client_id()
        if by_reset:
            proxy.reset()
        else:
            async with Redis.from_url(servers.redis_url) as other:
                await other.client_kill_filter(_id=str(first))
        [kept] = redis.connection_pool._available_connections
        await until(lambda: kept._reader.at_eof() or kept._writer.transport.is_closing())
        assert await redis.client_id() != first

    on_uvloop(servers, do)


def test_one_that_is_reset_under_a_command_is_redis_away(servers: Servers) -> None:
    async def do(redis: Redis, proxy: Proxy) -> None:
        connection = await redis.connection_pool.get_connection()
        try:
            connection._writer.transport.abort()
            await asyncio.sleep(0)
            with pytest.raises(RedisConnectionError):
                await connection.send_command("PING")
        finally:
            await redis.connection_pool.release(connection)
        assert await redis.ping()

    on_uvloop(servers, do)
