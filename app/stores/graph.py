"""Names and the chunks they stand in: storing them, and what lies around a question's names."""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from app.chat.model import Scope
from app.ingest.ports import IndexedChunk
from app.retrieval.graph import Link
from app.retrieval.ports import Hit
from app.stores.database import Database, checked_id, who
from app.stores.hits import hits

NEIGHBOURHOOD = "SELECT * FROM graph_neighbourhood(enter($1, $2, $3, $4), $5, $6, $7)"
HITS = "SELECT * FROM graph_hits(enter($1, $2, $3, $4), $5, $6)"
INSERT_MENTIONS = """
INSERT INTO rag_mention (portfolio_id, key, chunk_id, tenant_id)
SELECT $2, g.key, c.id, $1
  FROM unnest($4::integer[], $5::text[]) AS g(ordinal, key)
  JOIN rag_chunk c ON c.document_id = $3 AND c.ordinal = g.ordinal
"""


class PgGraph:
    """The port `GraphStore` on Postgres. Names go with the chunks they stand in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def neighbourhood(
        self, scope: Scope, portfolio_id: int, keys: Sequence[str], filters: Mapping[str, Any]
    ) -> Sequence[Link]:
        """Those of `keys` that the portfolio has, and the names two hops around them, each with
        its chunks; bounded. NotFound for the portfolio."""
        rows = await self._database.fetch(
            NEIGHBOURHOOD, *who(scope), checked_id(portfolio_id), list(keys), dict(filters)
        )
        return [Link(row["key"], row["asked"], row["chunks"]) for row in rows]

    async def hits(self, scope: Scope, scores: Mapping[int, float]) -> Sequence[Hit]:
        """The tenant's chunks of these ids with these scores, the best first, then by id."""
        rows = await self._database.fetch(HITS, *who(scope), list(scores), list(scores.values()))
        return hits(rows)


async def insert_mentions(
    connection: asyncpg.Connection,
    owner: tuple[int, int, int],
    first: int,
    chunks: Sequence[IndexedChunk],
) -> None:
    """Store the names in a document's chunks from ordinal `first` on, in the caller's
    transaction. `owner` is tenant, portfolio and document."""
    mentions = [
        (ordinal, key) for ordinal, chunk in enumerate(chunks, first) for key in chunk.entities
    ]
    await connection.execute(
        INSERT_MENTIONS,
        *owner,
        [ordinal for ordinal, _ in mentions],
        [key for _, key in mentions],
    )
