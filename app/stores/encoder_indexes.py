"""Making room for an encoder's vectors and taking it away again: the owner's part.

An index on a table that is in use is made and dropped CONCURRENTLY, which lets its writers go on,
cannot be done in a transaction, and leaves an invalid index where it is killed: the next caller
makes that anew.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import asyncpg

from app.stores.migrate import MigrationFailed, as_owner

# One process at a time, asked for and not waited for: Postgres makes an index only when older
# transactions have ended, and a waiting session would be one of them.
TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext('encoder indexes'))"
UNLOCK = "SELECT pg_advisory_unlock(hashtext('encoder indexes'))"
LOOK_SECONDS = 0.1

MISSING = """
SELECT encoder_index(p.relname, $1) AS name, i.indexrelid IS NOT NULL AS invalid,
       encoder_index_definition(p.relname, $1, $2, 'CONCURRENTLY') AS definition
  FROM pg_inherits h
  JOIN pg_class p ON p.oid = h.inhrelid
  LEFT JOIN pg_index i ON i.indexrelid = to_regclass(encoder_index(p.relname, $1))
 WHERE h.inhparent = 'rag_embedding'::regclass AND i.indisvalid IS NOT TRUE
 ORDER BY 1
"""
UNUSED = """
SELECT i.indexrelid::regclass::text AS name
  FROM encoders e
 CROSS JOIN pg_inherits h
  JOIN pg_class p ON p.oid = h.inhrelid
  JOIN pg_index i ON i.indexrelid = to_regclass(encoder_index(p.relname, e.id))
 WHERE h.inhparent = 'rag_embedding'::regclass AND e.name <> ALL ($1)
 ORDER BY 1
"""


async def ensure_encoder(connection: asyncpg.Connection, name: str, dimension: int) -> int:
    """Register the encoder with its indexes, unless it is there already; its id.

    MigrationFailed where the name is there with another dimension.
    """
    try:
        encoder_id: int = await connection.fetchval(
            "SELECT ensure_encoder($1, $2)", name, dimension
        )
    except asyncpg.RaiseError as error:
        raise MigrationFailed(error.args[0]) from error
    if await connection.fetch(MISSING, encoder_id, dimension):
        async with _alone(connection):
            for index in await connection.fetch(MISSING, encoder_id, dimension):
                if index["invalid"]:
                    await connection.execute(f"DROP INDEX CONCURRENTLY {index['name']}")
                await connection.execute(index["definition"])
    return encoder_id


async def register_encoder(owner_url: str, name: str, dimension: int) -> int:
    """`ensure_encoder` over a connection of its own."""
    async with as_owner(owner_url) as connection:
        return await ensure_encoder(connection, name, dimension)


async def drop_unused_indexes(owner_url: str, used: Collection[str]) -> None:
    """Drop the indexes of every encoder but those named; `ensure_encoder` makes them anew."""
    async with as_owner(owner_url) as connection, _alone(connection):
        for index in await connection.fetch(UNUSED, list(used)):
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index['name']}")


async def tenant_ids(owner_url: str) -> list[int]:
    """Every tenant: the service's role sees one at a time only."""
    async with as_owner(owner_url) as connection:
        return [row["id"] for row in await connection.fetch("SELECT id FROM tenants ORDER BY id")]


@asynccontextmanager
async def _alone(connection: asyncpg.Connection) -> AsyncIterator[None]:
    while not await connection.fetchval(TRY_LOCK):  # noqa: ASYNC110 — another process has it
        await asyncio.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        await connection.execute(UNLOCK)
