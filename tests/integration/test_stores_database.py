"""Connections that fail, hang or break, and what a caller sees of it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from app.chat.model import Scope
from app.embedded import Servers
from app.errors import DatabaseUnavailable
from app.stores.database import Database


@asynccontextmanager
async def opened(url: str, **values: float) -> AsyncIterator[Database]:
    database = await Database.open(url, **values)  # type: ignore[arg-type]
    try:
        yield database
    finally:
        await database.close()


async def backends(database: Database) -> list[int]:
    """The processes that serve both pools, each used once."""
    async with database.session(Scope(1)) as session, database.connection() as connection:
        one = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        return [one, await connection.fetchval("SELECT pg_backend_pid()")]


async def test_connections_that_the_server_closed_are_replaced(
    migrated: Servers, superuser_url: str
) -> None:
    async with opened(migrated.app_url, pool_size=1) as database:
        former = await backends(database)
        killer = await asyncpg.connect(superuser_url)
        try:
            for process in former:
                await killer.fetchval("SELECT pg_terminate_backend($1, 5000)", process)
        finally:
            await killer.close()
        try:
            await database.ping()
        except DatabaseUnavailable:  # the close had not arrived yet
            await database.ping()
        assert not set(former) & set(await backends(database))


async def test_settings_reach_the_sessions(migrated: Servers) -> None:
    async with opened(migrated.app_url, pool_size=1) as database:
        async with database.connection() as connection:
            assert await connection.fetchval("SHOW plan_cache_mode") == "auto"
        async with database.session(Scope(1)) as session:
            assert (await session.execute(text("SHOW jit"))).scalar_one() == "off"
            assert (await session.execute(text("SHOW app.tenant_id"))).scalar_one() == "1"
        async with database.transaction(Scope(2)) as connection:
            assert await connection.fetchval("SHOW app.tenant_id") == "2"
        async with database.connection() as connection:
            assert await connection.fetchval("SHOW app.tenant_id") == ""


async def test_a_statement_that_takes_too_long_is_cut_off(migrated: Servers) -> None:
    async with opened(migrated.app_url, pool_size=1, timeout_seconds=0.2) as database:
        with pytest.raises(DatabaseUnavailable):
            await database.fetch("SELECT pg_sleep(60)")
        with pytest.raises(DatabaseUnavailable):
            async with database.session(Scope(1)) as session:
                await session.execute(text("SELECT pg_sleep(60)"))
        await database.ping()


async def test_an_exhausted_pool_is_unavailable(migrated: Servers) -> None:
    async with opened(migrated.app_url, pool_size=1, timeout_seconds=0.2) as database:
        async with database.connection():
            with pytest.raises(DatabaseUnavailable):
                await database.ping()
        await database.ping()


async def test_a_server_that_is_away_or_hangs(tmp_path: Path, migrated: Servers) -> None:
    with socket.socket() as listening:  # accepts by its backlog, never answers
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        for url in (
            f"postgresql://citestream_app@/citestream?host={tmp_path}",
            "postgresql://citestream_app@127.0.0.1:1/citestream",
            f"postgresql://citestream_app@127.0.0.1:{port}/citestream",
            migrated.app_url.replace("citestream_app@", "nobody_at_all@"),
            migrated.app_url.replace("/test_", "/no_such_database_"),
        ):
            with pytest.raises(DatabaseUnavailable):
                async with asyncio.timeout(5):
                    await Database.open(url, timeout_seconds=0.3)


async def test_a_closed_database_is_unavailable(migrated: Servers) -> None:
    async with opened(migrated.app_url) as database:
        pass
    with pytest.raises(DatabaseUnavailable):
        await database.ping()


async def test_an_error_of_ours_stays_one(migrated: Servers) -> None:
    async with opened(migrated.app_url, pool_size=1) as database:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await database.fetch("SELECT * FRO encoders")
        with pytest.raises(KeyError):
            async with database.session(Scope(1)):
                raise KeyError
