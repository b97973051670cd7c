"""The database brought to this version, before anything is built on it."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from app.bootstrap.encoders import connect_main_encoder
from app.errors import DatabaseUnavailable
from app.production import refuse_weak_secrets
from app.settings import ConfigurationError, Settings
from app.stores.migrate import is_current, upgrade
from app.stores.prepare import prepare

# Who waits starts as soon as it may; a statement a second is nothing to the database.
AGAIN_SECONDS = 1.0


async def migrate(settings: Settings) -> None:
    """Bring the schema to this version's, as the owner; register the encoder and the defaults."""
    if settings.database_owner_url is None:
        raise ConfigurationError(
            "Set DATABASE_OWNER_URL to the role that owns the schema; "
            "DATABASE_URL is the role that the service runs as."
        )
    refuse_weak_secrets(settings)
    await upgrade(settings.database_owner_url)
    async with AsyncExitStack() as stack:
        encoder = await connect_main_encoder(settings, stack)
        await prepare(settings.database_owner_url, encoder.name, encoder.dimension)


async def wait_until_migrated(settings: Settings, say: Callable[[str], None]) -> None:
    """Return when another has brought the database to this version; as the service's role, and
    for as long as it takes. `say` is told what is waited for, when that changes."""
    if settings.database_url is None:
        raise ConfigurationError("Set DATABASE_URL to the database that is migrated elsewhere.")
    said = ""
    while (waits := await _missing(settings.database_url)) is not None:
        if waits != said:
            say(waits)
            said = waits
        await asyncio.sleep(AGAIN_SECONDS)


async def _missing(app_url: str) -> str | None:
    try:
        found = await is_current(app_url)
    except DatabaseUnavailable as error:
        return f"Waiting for the database: {error.message}"
    return None if found else "Waiting for `citestream migrate`, which brings it to this version."
