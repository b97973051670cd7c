"""Keys of tenants, as `citestream key` makes them."""

from app.stores.database import Database
from app.stores.tenants import PgCredentials
from tests.soak.deployment import Deployment


async def new_key(running: Deployment, tenant: str) -> str:
    """An owner's; the tenant is made when it is new."""
    database = await Database.open(running.servers.app_url)
    try:
        return await PgCredentials(database).create(tenant, "soak")
    finally:
        await database.close()
