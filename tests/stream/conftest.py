"""The live service of this room's tests, and what it is configured with."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from app.bootstrap import Settings, migrate
from app.embedded import Servers
from tests.support.live import Live, live_service


@pytest.fixture(scope="session")
async def connections(
    fresh_database: Callable[[], Awaitable[Servers]], encoder_url: str, exports: Path
) -> dict[str, Any]:
    """The settings that point at a database of this room's own, and the suite's Valkey and
    encoder: a worker serves here, which must not find what other tests have left waiting."""
    database = await fresh_database()
    settings: dict[str, Any] = {
        "data": exports.parent,
        "database_url": database.app_url,
        "database_owner_url": database.owner_url,
        "redis_url": database.redis_url,
        "encoder": {"url": encoder_url},
    }
    await migrate(Settings(**settings))
    return settings


@pytest.fixture
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this user's local encoders have their sockets; short enough for one."""
    with TemporaryDirectory(prefix="cs-") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


@pytest.fixture(scope="session")
async def live(connections: dict[str, Any]) -> AsyncIterator[Live]:
    """The service with default settings, but that it waits for its sources."""
    async with live_service(**connections) as service:
        yield service
