"""Connections that are lent, given back, cut off and fought for."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from app.chat.model import Scope
from app.embedded import Servers
from app.errors import DatabaseUnavailable
from app.stores.database import Database

PROCESS = "SELECT pg_backend_pid() AS id"


@pytest.fixture
async def database(migrated: Servers) -> AsyncIterator[Database]:
    """With one connection."""
    opened = await Database.open(migrated.app_url, pool_size=1)
    try:
        yield opened
    finally:
        await opened.close()


async def process(database: Database) -> int:
    [row] = await database.fetch(PROCESS)
    return int(row["id"])


async def test_the_same_one_is_lent_again(database: Database) -> None:
    assert len({await process(database) for _ in range(5)}) == 1


async def test_whoever_waits_is_next(database: Database) -> None:
    order: list[str] = []

    async def use(name: str) -> None:
        async with database.connection() as connection:
            order.append(name)
            await connection.fetch(PROCESS)

    async with asyncio.TaskGroup() as group:
        async with database.connection():
            waiting = [group.create_task(use(name)) for name in "abc"]
            await asyncio.sleep(0)  # each has asked
        await use("late")
    assert all(task.done() for task in waiting)
    assert order[0] == "a"
    assert sorted(order) == ["a", "b", "c", "late"]


async def test_who_gets_none_in_time_is_told_that_all_are_in_use(migrated: Servers) -> None:
    database = await Database.open(migrated.app_url, pool_size=1, timeout_seconds=0.2)
    try:
        async with database.connection():
            with pytest.raises(DatabaseUnavailable, match="in use") as refused:
                await process(database)
            assert (refused.value.code, refused.value.status) == ("database_unavailable", 503)
            assert database.statistics()["questions"]["waiting"] == 0
        assert await process(database)
    finally:
        await database.close()


async def test_statistics_tell_how_often_connections_are_used_again(database: Database) -> None:
    before = database.statistics()["questions"]
    for _ in range(100):
        await process(database)
    async with database.connection():
        during = database.statistics()["questions"]
    assert (during["size"], during["open"], during["in_use"], during["waiting"]) == (1, 1, 1, 0)
    assert during["acquired"] - before["acquired"] == 101
    assert during["opened"] == before["opened"] == 1
    async with database.session(Scope(1)) as session:
        assert (await session.execute(text("SELECT 1"))).scalar() == 1
        administration = database.statistics()["administration"]
    assert administration == {"size": 2, "open": 1, "in_use": 1, "acquired": 1, "opened": 1}


async def test_after_a_cancelled_statement_the_next_one_is_answered(database: Database) -> None:
    async with database.connection() as connection:
        former = await connection.fetchval(PROCESS)
    task = asyncio.create_task(database.fetch("SELECT pg_sleep(60)"))
    async with asyncio.timeout(10):
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await process(database) == former


async def test_an_open_transaction_is_not_lent_on(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("BEGIN")
    async with database.connection() as connection:
        assert not connection.is_in_transaction()


async def test_closing_waits_for_what_is_lent(database: Database) -> None:
    async with database.connection() as connection:
        closing = asyncio.create_task(database.close())
        await asyncio.sleep(0)
        assert await connection.fetchval("SELECT 1") == 1
    await closing
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
