"""What asks questions in advance: `citestream warm`, and a running process while it is idle."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from app.bootstrap.clients import open_database
from app.chat.engine import Engine
from app.chat.prefetch import Prefetcher
from app.chat.warming import Warmer
from app.settings import ConfigurationError, Settings
from app.stores.agents import PgAgents
from app.stores.database import Database
from app.stores.questions import PgQuestions


def can_warm(settings: Settings) -> bool:
    """Whether an answer is kept for anybody."""
    return settings.features.answer_cache and settings.redis_url is not None


@asynccontextmanager
async def open_warmer(settings: Settings, engine: Engine) -> AsyncIterator[Warmer]:
    """What asks the most frequent questions by way of this engine. ConfigurationError where
    nothing would be kept."""
    if not can_warm(settings):
        raise ConfigurationError(
            "There is no cache to warm: set REDIS_URL, and leave "
            "CITESTREAM_FEATURES__ANSWER_CACHE on."
        )
    async with AsyncExitStack() as stack:
        database = await open_database(settings, stack)
        yield Warmer(engine.warm, PgAgents(database), PgQuestions(database))


@asynccontextmanager
async def with_prefetch(database: Database, engine: Engine) -> AsyncIterator[None]:
    """Ask the likeliest next questions meanwhile, whenever no run is on its way."""
    prefetcher = Prefetcher(PgQuestions(database), engine.warm, time.monotonic)
    engine.watched_by(prefetcher)
    running = asyncio.create_task(prefetcher.run(), name="prefetch")
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})
