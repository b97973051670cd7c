"""The live service of this room's tests, and what it is configured with."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.bootstrap import Settings, migrate
from app.embedded import Servers
from tests.support.live import Live, live_service


@pytest.fixture(scope="session")
async def connections(migrated: Servers, encoder_url: str) -> dict[str, Any]:
    """The settings that point at the suite's Postgres, Valkey and encoder, prepared."""
    settings: dict[str, Any] = {
        "database_url": migrated.app_url,
        "database_owner_url": migrated.owner_url,
        "redis_url": migrated.redis_url,
        "encoder": {"url": encoder_url},
    }
    await migrate(Settings(**settings))
    return settings


@pytest.fixture(scope="session")
async def live(connections: dict[str, Any]) -> AsyncIterator[Live]:
    """The service with default settings."""
    async with live_service(**connections) as service:
        yield service
