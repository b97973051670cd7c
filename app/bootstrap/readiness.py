"""What each dependency says of itself, for `/readyz`."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from app.errors import AppError
from app.stores.database import Database
from app.stores.redis_cache import NoCache, RedisCache

# For each dependency: probes wait for three to five seconds, and one that is merely degraded must
# not look like a service that is gone.
PATIENCE_SECONDS = 2.0


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
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._database = database
        self._encoders = encoders
        self._cache = cache
        self._reranker = reranker
        self._patience = patience_seconds

    async def __call__(self) -> dict[str, str]:
        asked = {
            "postgres": self._state("down", [self._database]),
            "redis": self._redis(),
            "encoder": self._state("degraded", self._encoders),
        }
        if self._reranker is not None:
            asked["reranker"] = self._state("degraded", [self._reranker])
        # All at once: one that hangs keeps whoever looks waiting long enough.
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def _redis(self) -> str:
        reached = await self._cache.ping()
        return "ok" if reached else "degraded: answers are given without the cache"

    async def _state(self, failing: str, dependencies: Sequence[Pinged]) -> str:
        try:
            async with asyncio.timeout(self._patience):
                for each in dependencies:
                    await each.ping()
        except AppError as error:
            return f"{failing}: {error.message}"
        except TimeoutError:
            return f"{failing}: no answer within {self._patience:.0f} s"
        return "ok"
