"""The yardstick: the same job, written by hand for one table and one question at a time.

`baseline DATABASE_URL REDIS_URL PROVIDER_URL MODEL CACHE`. `POST /chat` with `{"message", "model"}`
answers as server-sent events: the answer that Redis has, or else one that a language model writes
from the passages nearest to the question, which is then kept. It prints its address as a line of
JSON. What there is besides of a service is not there: no framework, no authentication, no tenants,
no search by words, no history, no citations, no deadlines, no retries, nothing that is stored.

It is what the parts allow: raw ASGI on uvicorn with uvloop and httptools, one process; asyncpg with
a prepared statement on a table of nothing but this portfolio's chunks and its HNSW index; one
pipelined connection to Redis, read by hiredis; the model on ONNX Runtime within the process, in a
thread, and what is asked while it is busy as one batch; HTTP to the provider by httptools on kept
connections. Whoever makes it faster moves the limit that is published.
"""

import asyncio
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
import orjson
import uvicorn
import uvloop
from pgvector import HalfVector
from pgvector.asyncpg import register_vector

from app.bench.baseline_clients import Embedder, Redis, Vendor
from app.encoder.loading import load_backend
from app.serving import listen

# What Citestream has for the same questions.
PASSAGES, EF_SEARCH, MAX_TOKENS, KEPT_SECONDS = 8, 80, 3000, "3600"
NEAREST = f"""
SELECT title, text FROM bench_passages ORDER BY embedding <=> $1 LIMIT {PASSAGES}
"""  # noqa: S608 — a number of ours
RULES = (
    "Answer in English, from the numbered passages below and nothing else. After each statement "
    "put the number of the passage that supports it in square brackets, like [1]. If the passages "
    "do not answer the question, say so plainly."
)
HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
DONE = b'data: {"type":"done"}\n\n'


@dataclass(frozen=True, slots=True)
class Baseline:
    """The application."""

    pool: asyncpg.Pool
    redis: Redis
    vendor: Vendor
    embedder: Embedder

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = orjson.loads(await _body(receive))
        message, model = asked["message"], asked["model"]
        key = b"bench:" + hashlib.sha256(f"{model}\n{message}".encode()).digest()
        kept = await self.redis.ask("GET", key)
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        if kept is not None:
            await send({"type": "http.response.body", "body": kept})
            return
        answering = asyncio.create_task(self._answer(key, message, model, send))
        leaving = asyncio.create_task(receive())
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if answering.done():
            answering.result()  # raises what went wrong
        else:
            answering.cancel()

    async def _answer(self, key: bytes, message: str, model: str, send: Any) -> None:
        vector = HalfVector(np.frombuffer(await self.embedder.embed(message), "<f4"))
        async with self.pool.acquire() as connection:
            rows = await connection.fetch(NEAREST, vector)
        said = []
        async for texts in self.vendor.stream(_request(message, model, rows)):
            frames = b"".join(
                b'data: {"type":"token","content":%b}\n\n' % orjson.dumps(text) for text in texts
            )
            said.append(frames)
            await send({"type": "http.response.body", "body": frames, "more_body": True})
        said.append(DONE)
        await self.redis.ask("SET", key, b"".join(said), "EX", KEPT_SECONDS)
        await send({"type": "http.response.body", "body": DONE})


async def _body(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    return body


def _request(message: str, model: str, rows: Sequence[asyncpg.Record]) -> dict[str, Any]:
    passages = [
        f"[{number}] {row['title']}\n{row['text']}" for number, row in enumerate(rows, start=1)
    ]
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": "\n\n".join([RULES, *passages])},
            {"role": "user", "content": message},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.2,
        "max_tokens": MAX_TOKENS,
    }


async def _prepare(connection: asyncpg.Connection) -> None:
    await register_vector(connection)
    await connection.execute(f"SET hnsw.ef_search = {EF_SEARCH}; SET enable_seqscan = off")


async def _nothing(_: asyncpg.Connection) -> None:
    """No second round trip to reset the connection, which asyncpg makes unless it is told."""


async def _serve(database: str, redis: str, provider: str, embedder: Embedder) -> None:
    async with asyncpg.create_pool(database, init=_prepare, reset=_nothing) as pool:
        application = Baseline(pool, await Redis.connect(redis), Vendor(provider), embedder)
        config = uvicorn.Config(
            application, http="httptools", ws="none", lifespan="off", log_level="warning",
            access_log=False, server_header=False, date_header=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        with listen("127.0.0.1", 0) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            sys.stdout.buffer.write(orjson.dumps({"url": url}) + b"\n")
            sys.stdout.buffer.flush()
            await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Serve until this process is ended."""
    database, redis, provider, model, cache = sys.argv[1:6]
    embedder = Embedder(load_backend(model, backend="onnx", cache=cache))
    uvloop.run(_serve(database, redis, provider, embedder))


if __name__ == "__main__":
    main()
