"""What a pooler in transaction mode (PgBouncer) asks of its clients.

Each transaction may be on another connection of the server, which other clients use in between.
So nothing outlives a transaction: statements have no names, settings are made in each, and what
asyncpg does in two steps (parse, then execute) is in one transaction too, or it would run whatever
another client has parsed there. Advisory locks end with their transaction; those of the owner
(indexes, the rotation of keys) are a session's, so DATABASE_OWNER_URL names the server itself.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from app.stores.translate import DRIVERS

# For a pooler each parameter of a connection is one it must know. These are the ones that it has.
SERVER_SETTINGS = {"application_name": "citestream"}

# In place of a connection's settings (app.stores.database): in one round trip with the beginning.
SETTINGS = {"plan_cache_mode": "auto", "jit": "off"}
BEGIN = "BEGIN; " + "; ".join(f"SET LOCAL {name} = {value}" for name, value in SETTINGS.items())
# Beside `enter`, in one statement with it.
MAKE_SETTINGS = "".join(
    f", set_config('{name}', '{value}', true)" for name, value in SETTINGS.items()
)

# asyncpg's and SQLAlchemy's ways to say that a statement has no name.
ASYNCPG = {"statement_cache_size": 0, "server_settings": SERVER_SETTINGS}
SQLALCHEMY: dict[str, Any] = {
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


@asynccontextmanager
async def connected(url: str, timeout_seconds: float = 60.0) -> AsyncIterator[asyncpg.Connection]:
    """One transaction on a connection of its own, with a pooler or without one."""
    connection = await asyncpg.connect(
        url, timeout=timeout_seconds, command_timeout=timeout_seconds, **ASYNCPG
    )
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close(timeout=timeout_seconds)


async def fetch(
    connection: asyncpg.Connection, query: str, values: Sequence[Any]
) -> Sequence[asyncpg.Record]:
    """One statement in a transaction with the settings: four round trips instead of one."""
    try:
        await connection.execute(BEGIN)
        rows: Sequence[asyncpg.Record] = await connection.fetch(query, *values)
        await connection.execute("COMMIT")
    except BaseException:
        with suppress(*DRIVERS):  # it broke: the server has rolled back already
            await connection.execute("ROLLBACK")
        raise
    return rows
