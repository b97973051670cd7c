"""What `citestream reencode` works with: the database as both roles, and the encoder to come."""

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager

from app.bootstrap.clients import open_database
from app.bootstrap.encoders import connect_preferred_encoder
from app.bootstrap.indexer import open_indexes
from app.chat.model import Scope
from app.ingest.embedding import Embedder
from app.ingest.reencode import Reencoder
from app.settings import ConfigurationError, Settings
from app.stores.encoder_indexes import register_encoder, tenant_ids
from app.stores.reencoding import PgReencoding
from app.stores.vectors import PgVectors


@asynccontextmanager
async def open_reencoder(settings: Settings, batch: int) -> AsyncIterator[Reencoder]:
    """What brings portfolios to the next encoder, or with none configured to the main one."""
    if settings.database_url is None or settings.database_owner_url is None:
        raise ConfigurationError(
            "Set DATABASE_URL to the role that the service runs as, and DATABASE_OWNER_URL to the "
            "one that owns the schema and makes the indexes."
        )
    owner_url = settings.database_owner_url
    indexes = open_indexes(settings)

    async def retire(_: Collection[str]) -> None:
        await indexes.update()

    async with AsyncExitStack() as stack:
        database = await open_database(settings, stack)
        encoder = await connect_preferred_encoder(settings, stack)
        await register_encoder(owner_url, encoder.name, encoder.dimension)
        yield Reencoder(
            PgReencoding(database),
            Embedder({encoder.name: encoder}, PgVectors(database)),
            encoder.name,
            scopes=[Scope(each) for each in await tenant_ids(owner_url)],
            retire=retire,
            batch=batch,
        )
