"""What makes the vector indexes: as the owner, beside the service or alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.production import refuse_weak_secrets
from app.settings import ConfigurationError, Settings
from app.stores.vector_indexes import VectorIndexes


def open_indexes(settings: Settings) -> VectorIndexes:
    """ConfigurationError without the owner's address."""
    if settings.database_owner_url is None:
        raise ConfigurationError(
            "Set DATABASE_OWNER_URL to the role that owns the schema: it makes the indexes."
        )
    refuse_weak_secrets(settings)
    return VectorIndexes(settings.database_owner_url, settings.retrieval.exact_below_chunks)


@asynccontextmanager
async def with_indexer(settings: Settings) -> AsyncIterator[None]:
    """Keep the indexes as they should be meanwhile, in a process that has the owner's address;
    others leave it to `citestream index`."""
    if settings.database_owner_url is None:
        yield
        return
    indexer = asyncio.create_task(open_indexes(settings).run(), name="vector indexes")
    try:
        yield
    finally:
        indexer.cancel()
        await asyncio.wait({indexer})
