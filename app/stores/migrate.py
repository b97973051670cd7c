"""Bringing the schema to a revision.

Everything here connects as the owner. Any number of processes may do it at once: the work is one
transaction under an advisory lock, so a killed one leaves nothing behind and the next goes on.
"""

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from app.stores import pooled
from app.stores.connections import ABANDONED
from app.stores.translate import translated

if TYPE_CHECKING:
    from alembic.config import Config

LOCK = 0x6369746573747265  # "citestre": the advisory lock's number, ours alone in this database


class MigrationFailed(Exception):
    """The schema could not be changed; the message says what to do."""


def folder() -> Path:
    """Where the package `migrations` lies, installed or not."""
    spec = find_spec("migrations")
    if spec is None or not spec.submodule_search_locations:
        raise MigrationFailed("The package `migrations` is not installed beside `app`.")
    return Path(spec.submodule_search_locations[0])


def head() -> str:
    """The newest revision, by the files' names, without importing Alembic."""
    return max(path.name for path in folder().glob("versions/[0-9]*.py")).partition("_")[0]


async def upgrade(owner_url: str, revision: str = "head") -> None:
    """Bring the schema to `revision`; returns at once where it is there already.

    Raises MigrationFailed or DatabaseUnavailable.
    """
    target = head() if revision == "head" else revision
    if await current(owner_url) == target:
        return
    from alembic import command

    await _run(owner_url, lambda config: command.upgrade(config, target))


async def downgrade(owner_url: str, revision: str) -> None:
    """Take the schema back to `revision`, "base" for nothing at all. Data go with their tables."""
    from alembic import command

    await _run(owner_url, lambda config: command.downgrade(config, revision))


async def check(owner_url: str) -> None:
    """Raise MigrationFailed where `app.stores.schema` and the migrated database differ."""
    from alembic import command

    await _run(owner_url, command.check)


async def current(owner_url: str) -> str | None:
    """The revision the database is at, None before the first."""
    async with as_owner(owner_url) as connection:
        return await _revision(connection)


async def is_current(app_url: str) -> bool:
    """Whether the database, asked as the service's role, is prepared for this version, or for a
    later one that this still serves on. Raises DatabaseUnavailable."""
    try:
        with translated():
            async with pooled.connected(app_url) as connection:
                return (await _revision(connection) or "") >= head()
    except asyncpg.InsufficientPrivilegeError:  # `prepare`, which comes last, has not shown it yet
        return False


async def _revision(connection: asyncpg.Connection) -> str | None:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    version: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return version


@asynccontextmanager
async def as_owner(owner_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the owner's; the drivers' errors leave as AppErrors."""
    with translated():
        connection = await asyncpg.connect(owner_url, server_settings=ABANDONED)
        try:
            yield connection
        finally:
            await connection.close()


async def _run(owner_url: str, command: "Callable[[Config], Any]") -> None:
    """Run one Alembic command in one transaction under the lock.

    Alembic's words go nowhere and its logging is never configured: the application's stays.
    """
    from alembic.config import Config
    from alembic.util.exc import CommandError
    from sqlalchemy import Connection, pool, text
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine

    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")

    async def connect(*_: object, **__: object) -> asyncpg.Connection:
        return await asyncpg.connect(owner_url, server_settings=ABANDONED)

    def run(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command(config)

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, poolclass=pool.NullPool
    )
    try:
        with translated():
            async with engine.begin() as connection:
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK}
                )
                await connection.run_sync(run)
    except (CommandError, asyncpg.RaiseError) as error:
        raise MigrationFailed(str(error)) from error
    except DBAPIError as error:
        raise MigrationFailed(str(error.orig)) from error
    finally:
        await engine.dispose()
