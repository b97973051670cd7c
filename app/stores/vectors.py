"""Vectors of texts by their hash, each tenant's and each encoder's for themselves."""

from collections.abc import Mapping, Sequence

from app.chat.model import Scope, Vector
from app.stores.database import Database
from app.stores.encoders import Encoders

# A use is noted once a day: a write for each look-up would cost more than the look-up.
FIND = """
WITH used AS (
    UPDATE vector_cache SET used_at = now()
     WHERE tenant_id = $1 AND encoder_id = $2 AND text_hash = ANY ($3::bytea[])
       AND used_at < now() - interval '1 day'
)
SELECT text_hash, embedding FROM vector_cache
 WHERE tenant_id = $1 AND encoder_id = $2 AND text_hash = ANY ($3::bytea[])
"""
STORE = """
INSERT INTO vector_cache (tenant_id, encoder_id, text_hash, embedding)
SELECT $1, $2, * FROM unnest($3::bytea[], $4::halfvec[])
    ON CONFLICT DO NOTHING
"""


class PgVectors:
    """The port `Vectors` on Postgres, under the tenant's row level security."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._encoders = Encoders(database)

    async def find(
        self, scope: Scope, encoder: str, hashes: Sequence[bytes]
    ) -> Mapping[bytes, Vector]:
        """Those vectors that are there, as they were stored: in float16."""
        row = await self._encoders.find(encoder)
        async with self._database.transaction(scope) as connection:
            found = await connection.fetch(FIND, scope.tenant_id, row.id, list(hashes))
        return {each["text_hash"]: each["embedding"].to_list() for each in found}

    async def store(self, scope: Scope, encoder: str, vectors: Mapping[bytes, Vector]) -> None:
        """EncoderUnavailable where a vector's length is not the encoder's dimension."""
        row = await self._encoders.find(encoder)
        hashes = sorted(vectors)  # one order for all, so that no two wait for each other
        values = [row.halfvec(vectors[each]) for each in hashes]
        async with self._database.transaction(scope) as connection:
            await connection.execute(STORE, scope.tenant_id, row.id, hashes, values)

    async def prune(self, limit: int) -> int:
        """Remove up to `limit` vectors, of any tenant, that nobody has used for thirty days."""
        [row] = await self._database.fetch("SELECT prune_vectors($1) AS pruned", limit)
        return int(row["pruned"])
