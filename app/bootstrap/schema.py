"""The database brought to this version, before anything is built on it."""

from contextlib import AsyncExitStack

from app.bootstrap.encoders import connect_main_encoder
from app.settings import ConfigurationError, Settings
from app.stores.migrate import upgrade
from app.stores.prepare import prepare


async def migrate(settings: Settings) -> None:
    """Bring the schema to this version's, as the owner; register the encoder and the defaults."""
    if settings.database_owner_url is None:
        raise ConfigurationError(
            "Set DATABASE_OWNER_URL to the role that owns the schema; "
            "DATABASE_URL is the role that the service runs as."
        )
    await upgrade(settings.database_owner_url)
    async with AsyncExitStack() as stack:
        encoder = await connect_main_encoder(settings, stack)
        await prepare(settings.database_owner_url, encoder.name, encoder.dimension)
