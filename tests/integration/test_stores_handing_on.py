"""Connections that go from one user straight to the next, who may have left meanwhile."""

import asyncio
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

from app.embedded import Servers
from app.errors import DatabaseUnavailable
from app.stores.database import Database

SIZE = 3


@pytest.fixture
async def database(migrated: Servers) -> AsyncIterator[Database]:
    opened = await Database.open(migrated.app_url, pool_size=SIZE)
    try:
        yield opened
    finally:
        await opened.close()


def questions(database: Database) -> dict[str, int]:
    return database.statistics()["questions"]


async def test_many_share_few_without_opening_more(database: Database) -> None:
    echoed = await asyncio.gather(
        *(database.fetch("SELECT $1::int AS told", number) for number in range(200))
    )
    assert [row["told"] for [row] in echoed] == list(range(200))
    told = questions(database)
    assert (told["open"], told["in_use"], told["waiting"], told["opened"]) == (SIZE, 0, 0, SIZE)


async def test_who_leaves_in_the_queue_or_on_being_served_takes_none_along(
    database: Database,
) -> None:
    chance = random.Random(5)

    async def ask(number: int) -> None:
        task = asyncio.create_task(database.fetch("SELECT $1::int AS told", number))
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        if chance.random() < 0.6:
            task.cancel()
        [rows] = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(rows, asyncio.CancelledError) or rows[0]["told"] == number

    for _ in range(5):
        await asyncio.gather(*(ask(number) for number in range(100)))
    async with asyncio.timeout(10):
        await asyncio.gather(*(database.fetch("SELECT 1") for _ in range(5 * SIZE)))
    told = questions(database)
    assert (told["in_use"], told["waiting"]) == (0, 0)


async def test_one_that_broke_is_replaced_for_who_waits(
    database: Database, migrated: Servers
) -> None:
    async def end(connection: asyncpg.Connection) -> None:
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    async def use() -> None:
        async with database.connection() as connection:
            await end(connection)
            raise DatabaseUnavailable

    async with asyncio.timeout(10):
        breaking = [use() for _ in range(SIZE)]
        waiting = [database.fetch("SELECT 1 AS told") for _ in range(4 * SIZE)]
        found = await asyncio.gather(*breaking, *waiting, return_exceptions=True)
    assert all(isinstance(each, DatabaseUnavailable) for each in found[:SIZE])
    assert [each[0]["told"] for each in found[SIZE:]] == [1] * 4 * SIZE  # type: ignore[index]


async def test_who_waits_while_it_closes_is_told(migrated: Servers) -> None:
    database = await Database.open(migrated.app_url, pool_size=1)
    async with database.connection() as connection:
        waiting = asyncio.create_task(database.fetch("SELECT 1"))
        await asyncio.sleep(0)
        closing = asyncio.create_task(database.close())
        with pytest.raises(DatabaseUnavailable):
            await asyncio.wait_for(waiting, 2)
        assert await connection.fetchval("SELECT 1") == 1
    await closing
