"""What each dependency says of itself, for `/readyz`."""

from collections.abc import Sequence
from typing import Protocol

from app.errors import AppError
from app.stores.database import Database
from app.stores.redis_cache import NoCache, RedisCache


class Pinged(Protocol):
    """What raises an AppError unless it answers."""

    async def ping(self) -> None: ...


class Readiness:
    """Call it for each dependency's state: "ok", "degraded: …" or "down: …"."""

    def __init__(
        self, database: Database, encoders: Sequence[Pinged], cache: RedisCache | NoCache
    ) -> None:
        self._database = database
        self._encoders = encoders
        self._cache = cache

    async def __call__(self) -> dict[str, str]:
        reached = await self._cache.ping()
        return {
            "postgres": await _state("down", [self._database]),
            "redis": "ok" if reached else "degraded: answers are given without the cache",
            "encoder": await _state("degraded", self._encoders),
        }


async def _state(failing: str, dependencies: Sequence[Pinged]) -> str:
    try:
        for each in dependencies:
            await each.ping()
    except AppError as error:
        return f"{failing}: {error.message}"
    return "ok"
