"""What each dependency says of itself, for `/readyz`."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from app.errors import AppError
from app.stores.database import Database
from app.stores.redis_cache import NoCache, RedisCache


class Pinged(Protocol):
    """What raises an AppError unless it answers."""

    async def ping(self) -> None: ...


class Readiness:
    """Call it for each dependency's state: "ok", "degraded: …" or "down: …". Without a reranker
    there is none to be named."""

    def __init__(
        self,
        database: Database,
        encoders: Sequence[Pinged],
        cache: RedisCache | NoCache,
        reranker: Pinged | None = None,
    ) -> None:
        self._database = database
        self._encoders = encoders
        self._cache = cache
        self._reranker = reranker

    async def __call__(self) -> dict[str, str]:
        asked = {
            "postgres": _state("down", [self._database]),
            "redis": self._redis(),
            "encoder": _state("degraded", self._encoders),
        }
        if self._reranker is not None:
            asked["reranker"] = _state("degraded", [self._reranker])
        # All at once: one that hangs keeps whoever looks waiting long enough.
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def _redis(self) -> str:
        reached = await self._cache.ping()
        return "ok" if reached else "degraded: answers are given without the cache"


async def _state(failing: str, dependencies: Sequence[Pinged]) -> str:
    try:
        for each in dependencies:
            await each.ping()
    except AppError as error:
        return f"{failing}: {error.message}"
    return "ok"
