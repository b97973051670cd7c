"""The Postgres stores on a migrated database of the session."""

from collections.abc import AsyncIterator

import pytest

from app.chat.model import Scope
from app.embedded import Servers
from app.stores.database import Database
from app.stores.prepare import prepare
from tests.soak.starting import Start
from tests.support.forking import Forks
from tests.support.pg_stores import DIMENSION, ENCODER, Stores


@pytest.fixture(scope="session")
async def stores(migrated: Servers, superuser_url: str) -> AsyncIterator[Stores]:
    await prepare(migrated.owner_url, ENCODER, DIMENSION)
    database = await Database.open(migrated.app_url)
    name = migrated.app_url.partition("?")[0].rpartition("/")[2]
    behind = superuser_url.replace("/citestream?", f"/{name}?", 1)
    try:
        yield Stores(database, behind)
    finally:
        await database.close()


@pytest.fixture
async def scope(stores: Stores) -> Scope:
    """A tenant of the test's own."""
    return await stores.tenant()


@pytest.fixture(scope="session")
def forked_start(forking: Forks) -> Start:
    """For stages of the soak's rows at a small scale."""
    return forking.start
