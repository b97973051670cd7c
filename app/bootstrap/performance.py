"""What this process measures, and its place among the others'."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.performance import PerformanceMonitor
from app.settings import Settings
from app.stores.performance import SharedPerformance
from app.stores.redis_cache import NoCache, RedisCache


@asynccontextmanager
async def shared_performance(
    monitor: PerformanceMonitor, cache: RedisCache | NoCache, installation: str, settings: Settings
) -> AsyncIterator[SharedPerformance]:
    """The monitor among those of all processes, published every few seconds."""
    shared = SharedPerformance(
        monitor,
        cache if isinstance(cache, RedisCache) else None,
        installation=installation,
        process=f"{socket.gethostname()}:{settings.port}/{os.getpid()}-{os.urandom(3).hex()}",
    )
    publishing = asyncio.create_task(shared.keep_publishing(), name="performance")
    try:
        yield shared
    finally:
        publishing.cancel()
        await asyncio.wait({publishing})
