"""A service that listens where nginx finds it, and a key for whoever comes that way."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from app.bootstrap import Settings, migrate
from app.embedded import Servers
from tests.support.live import Live, live_service
from tests.support.vendors import VendorServer


@pytest.fixture(scope="session")
async def vendor() -> AsyncIterator[VendorServer]:
    async with VendorServer() as server:
        yield server


@pytest.fixture(scope="session")
async def replica(
    fresh_database: Callable[[], Awaitable[Servers]], encoder_url: str, vendor: VendorServer
) -> AsyncIterator[Live]:
    """One replica, with a language model that answers as the test has it."""
    database = await fresh_database()
    settings: dict[str, Any] = {
        "database_url": database.app_url,
        "database_owner_url": database.owner_url,
        "redis_url": database.redis_url,
        "encoder": {"url": encoder_url},
        "openai_api_key": "test",
        "openai_base_url": vendor.openai_url,
    }
    await migrate(Settings(**settings))
    async with live_service(**settings) as service:
        yield service


@pytest.fixture(scope="session")
async def key(replica: Live) -> dict[str, str]:
    """The header that a request through nginx needs: nobody is the owner there without it."""
    made = await replica.services.credentials.create("default", "nginx")
    return {"Authorization": f"Bearer {made}"}


@pytest.fixture(scope="session")
async def agent(replica: Live) -> int:
    portfolio = await replica.portfolio(
        "nginx", Atlas="Atlas is the map project. It was finished in 2021 by Ana Ruiz."
    )
    return await replica.agent("nginx", portfolio, provider="openai")
