"""`citestream migrate --wait`: replicas start on a schema that is theirs."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.bootstrap import Settings, migrate
from app.bootstrap.schema import wait_until_migrated
from app.embedded import Servers
from app.settings import ConfigurationError
from app.stores.migrate import as_owner, is_current, upgrade


async def test_it_ends_when_another_has_migrated(
    fresh_database: Callable[[], Awaitable[Servers]], encoder_url: str
) -> None:
    database = await fresh_database()
    said: list[str] = []
    told = asyncio.Event()

    def say(line: str) -> None:
        said.append(line)
        told.set()

    waiting = asyncio.create_task(wait_until_migrated(Settings(database_url=database.app_url), say))
    async with asyncio.timeout(30):
        await told.wait()
        await upgrade(database.owner_url)  # without what comes after it
        assert not waiting.done()
        await migrate(Settings(database_owner_url=database.owner_url, encoder={"url": encoder_url}))
        await waiting
    assert said == ["Waiting for `citestream migrate`, which brings it to this version."]


async def test_a_later_schema_will_do_and_a_former_will_not(
    fresh_database: Callable[[], Awaitable[Servers]], encoder_url: str
) -> None:
    database = await fresh_database()
    assert not await is_current(database.app_url)
    await migrate(Settings(database_owner_url=database.owner_url, encoder={"url": encoder_url}))
    async with as_owner(database.owner_url) as connection:
        for revision, will_do in (("9999", True), ("0001", False)):
            await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
            assert await is_current(database.app_url) is will_do


async def test_it_needs_an_address() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        await wait_until_migrated(Settings(database_url=None), print)
