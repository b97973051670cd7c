"""Making room for an encoder's vectors: the owner's part.

Its indexes follow as portfolios grow (`app.stores.vector_indexes`).
"""

import asyncpg

from app.stores.migrate import MigrationFailed, as_owner


async def ensure_encoder(connection: asyncpg.Connection, name: str, dimension: int) -> int:
    """Register the encoder, unless it is there already; its id.

    MigrationFailed where the name is there with another dimension.
    """
    try:
        encoder_id: int = await connection.fetchval(
            "SELECT ensure_encoder($1, $2)", name, dimension
        )
    except asyncpg.RaiseError as error:
        raise MigrationFailed(error.args[0]) from error
    return encoder_id


async def register_encoder(owner_url: str, name: str, dimension: int) -> int:
    """`ensure_encoder` over a connection of its own."""
    async with as_owner(owner_url) as connection:
        return await ensure_encoder(connection, name, dimension)


async def tenant_ids(owner_url: str) -> list[int]:
    """Every tenant: the service's role sees one at a time only."""
    async with as_owner(owner_url) as connection:
        return [row["id"] for row in await connection.fetch("SELECT id FROM tenants ORDER BY id")]
