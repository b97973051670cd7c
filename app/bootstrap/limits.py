"""Settings → what callers may use: the counters, the ledger, and who keeps them going."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from uuid import uuid4

from app.limits.limiter import Limiter
from app.limits.local import LocalCounts
from app.limits.rules import Limit, Limits
from app.limits.settling import CLOSE_SECONDS, Settling
from app.limits.spending import Spending
from app.settings import ConfigurationError, Settings
from app.stores.database import Database
from app.stores.limits import RedisCounts
from app.stores.redis_cache import NoCache, RedisCache
from app.stores.usage import PgUsage

# How many processes there are in all, no process knows. While Redis is away each allows this part
# of a limit: as many replicas as that stay within it together, or this machine's workers and as
# many elsewhere.
AWAY_SHARE = 4


@asynccontextmanager
async def open_spending(
    settings: Settings, database: Database, cache: RedisCache | NoCache
) -> AsyncIterator[Spending]:
    """What is spent on models, and the limiter of all else. To be closed behind the engine, whose
    last answers it settles."""
    limits = limits_of(settings)
    shared, share = None, settings.workers
    if isinstance(cache, RedisCache):
        shared = RedisCounts(cache, _digest(await database.installation()))
        share = max(AWAY_SHARE, 2 * settings.workers)
    ledger = PgUsage(database)
    limiter, settling = (
        Limiter(limits, shared, LocalCounts(time.monotonic, share)),
        Settling(ledger),
    )
    tasks = [asyncio.create_task(settling.run(), name="usage")]
    if limits.any:
        tasks.append(asyncio.create_task(limiter.keep(), name="limits: leases"))
    try:
        yield Spending(
            limits, limiter, ledger, settling, settings.prices, uuid4, lambda: datetime.now(UTC)
        )
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await settling.all_told()
        await limiter.aclose()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def limits_of(settings: Settings) -> Limits:
    """What the settings say. ConfigurationError where they bound a cost that nothing has."""
    each = (settings.limits.user, settings.limits.key, settings.limits.tenant)
    if any(limit.cost_per_day for limit in each) and not settings.prices:
        raise ConfigurationError(
            "A limit of cost_per_day needs CITESTREAM_PRICES: without them nothing costs anything."
        )
    return Limits(*(Limit(**limit.model_dump()) for limit in each))


def _digest(installation: str) -> str:
    return hashlib.sha256(installation.encode()).hexdigest()[:12]
