"""Everything that is encrypted, brought under the first key of AGENT_KMS_KEY."""

from collections.abc import Callable

from app.bootstrap.clients import open_vault
from app.settings import ConfigurationError, Settings
from app.stores.sealed import Rotated, reseal_all


async def rotate_keys(settings: Settings, progress: Callable[[int, int], None]) -> Rotated:
    """As the owner, who sees every encrypted column, while the service goes on. Raises
    ConfigurationError, and what `reseal_all` does."""
    if settings.database_owner_url is None:
        raise ConfigurationError("Set DATABASE_OWNER_URL to the role that owns the schema.")
    if settings.kms_keys is None:
        raise ConfigurationError(
            "Set AGENT_KMS_KEY to the new key with the former ones behind it, with commas between "
            "them."
        )
    return await reseal_all(settings.database_owner_url, open_vault(settings), progress)
