"""A process that asks for vectors which another one has left in Redis.

`cached_reader REDIS_URL`. A line of JSON on standard input is `{"texts": […]}`, a line on standard
output the seconds of each text: `shared` the first time, `local` the second.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

import orjson
import uvloop

from app.chat.model import Vector
from app.encoder.caching import CachingEncoder
from app.errors import EncoderUnavailable
from app.stores.redis_cache import RedisCache

NAME, DIMENSION = "bench@1", 384  # all-MiniLM-L6-v2's
TIMEOUT_SECONDS = 5.0


class _Absent:
    """An encoder that must not be asked: what is measured is remembered."""

    name = NAME
    dimension = DIMENSION
    languages = ("*",)

    async def embed_query(self, text: str) -> Vector:
        raise EncoderUnavailable(f"The vector of {text!r} is not remembered.")

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        raise EncoderUnavailable


async def _serve(url: str) -> None:
    cache = RedisCache(url, timeout_seconds=TIMEOUT_SECONDS, retry_after_seconds=TIMEOUT_SECONDS)
    try:
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            texts = orjson.loads(line)["texts"]
            encoder = CachingEncoder(_Absent(), cache)  # with an empty memory
            outcome = {place: await _times(encoder, texts) for place in ("shared", "local")}
            sys.stdout.buffer.write(orjson.dumps(outcome) + b"\n")
            sys.stdout.buffer.flush()
    finally:
        await cache.aclose()


async def _times(encoder: CachingEncoder, texts: list[str]) -> list[float]:
    times = []
    for text in texts:
        start = time.perf_counter()
        await encoder.embed_query(text)
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    """Do the tasks of standard input until it ends."""
    uvloop.run(_serve(sys.argv[1]))  # the loop that the API runs on


if __name__ == "__main__":
    main()
