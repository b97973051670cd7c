"""A FastAPI route with one Redis GET and one Postgres SELECT and nothing else, served as the API
is: what a cached answer is compared with.

`bare_route DATABASE_URL REDIS_URL`. It prints its address as a line of JSON and serves until it is
ended. Whoever starts it has made the table and the key (`app.bench.cache`).
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import orjson
import uvloop
from fastapi import FastAPI, Response
from redis.asyncio import Redis

from app.serving import listen, make_server

KEY = "bench:answer"
SELECT = "SELECT id, name, prompt, version FROM bench_agent WHERE id = $1"


def application(database_url: str, redis_url: str) -> FastAPI:
    redis = Redis.from_url(redis_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(database_url, reset=_nothing) as pool:
            app.state.pool = pool
            yield
        await redis.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.get("/answers/{agent_id}")
    async def answer(agent_id: int) -> Response:
        value = await redis.get(KEY)
        row = await app.state.pool.fetchrow(SELECT, agent_id)
        return Response(value, media_type="application/json", headers={"X-Agent": row["name"]})

    return app


async def _nothing(_: asyncpg.Connection) -> None:
    """No second round trip to reset the connection, which asyncpg makes unless it is told."""


async def _no_runs() -> None:
    """There are none to be ended."""


async def _serve(database_url: str, redis_url: str) -> None:
    with listen("127.0.0.1", 0) as listener:
        server = make_server(
            application(database_url, redis_url), end_runs=_no_runs, drain_seconds=1
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        if await server.is_up(serving):
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            sys.stdout.buffer.write(orjson.dumps({"url": url}) + b"\n")
            sys.stdout.buffer.flush()
        await serving


def main() -> None:
    """Serve until this process is ended."""
    uvloop.run(_serve(*sys.argv[1:3]))  # the loop that the API runs on


if __name__ == "__main__":
    main()
