"""How long a question waits for a vector that is remembered: in Redis by another process, or here.

A Valkey of its own, on its socket. This process puts the vectors there; the worker, which has none
in its own memory, asks for each of them twice.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from app.bench.cached_reader import DIMENSION, NAME, TIMEOUT_SECONDS
from app.bench.figures import Figure
from app.bench.workers import worker
from app.chat.model import Vector
from app.embedded.home import Home
from app.embedded.valkey import Valkey
from app.encoder.caching import CachingEncoder
from app.stores.redis_cache import RedisCache

TEXTS = 500
LIMIT_MS = 0.3
PLACES = {
    "shared": "cached query vector, from Redis, put there by another process",
    "local": "cached query vector, from the process itself",
}


class _Filler:
    """An encoder whose vectors are as long as real ones, and made at once."""

    name = NAME
    dimension = DIMENSION
    languages = ("*",)

    async def embed_query(self, text: str) -> Vector:
        return [1 / DIMENSION**0.5] * DIMENSION

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        return [await self.embed_query(text) for text in texts]


async def measure(rounds: int, folder: Path) -> list[Figure]:
    """Median milliseconds of each round; `folder` is this run's to write to."""
    valkey = Valkey(Home(folder, account=None), folder)
    try:
        await valkey.start()
        times = await _measure(rounds, valkey.url)
    finally:
        valkey.stop()
    return [Figure(PLACES[place], "ms", values, LIMIT_MS) for place, values in times.items()]


async def _measure(rounds: int, url: str) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {place: [] for place in PLACES}
    async with worker("app.bench.cached_reader", url) as reader:
        for number in range(rounds + 1):
            texts = [f"Which projects use version {number}.{each}?" for each in range(TEXTS)]
            await _fill(url, texts)
            answer = await reader.ask({"texts": texts})
            for place in PLACES if number else ():  # the first warms up
                times[place].append(median(answer[place]) * 1000)
    return times


async def _fill(url: str, texts: list[str]) -> None:
    cache = RedisCache(url, timeout_seconds=TIMEOUT_SECONDS, retry_after_seconds=TIMEOUT_SECONDS)
    try:
        encoder = CachingEncoder(_Filler(), cache)
        for text in texts:
            await encoder.embed_query(text)
        # They are put in the background: written before the first answer to this, and there before
        # the second.
        for _ in range(2):
            await cache.ping()
    finally:
        await cache.aclose()
