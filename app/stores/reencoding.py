"""Giving a portfolio another encoder's vectors, in steps that may each be the last for a while.

Every step is a transaction. What is left to do is asked of the tables, never remembered, so a
killed caller's work goes on wherever it stopped, and two callers only do some of it twice.
"""

from collections.abc import Sequence

import asyncpg

from app.chat.model import Scope, Vector
from app.ingest.ports import MissingVectors, PortfolioEncoders, Span
from app.stores.database import Database
from app.stores.encoders import Encoders, exclude_writers, hold_encoders

# Reading a portfolio of millions of chunks to its end takes seconds.
SCAN_SECONDS = 300.0

PORTFOLIOS = """
SELECT p.id, p.name, s.name AS encoder, n.name AS next_encoder, p.chunk_count
  FROM portfolios p
  JOIN encoders s ON s.id = p.encoder_id
  LEFT JOIN encoders n ON n.id = p.next_encoder_id
 ORDER BY p.id
"""
MARK = """
UPDATE portfolios SET next_encoder_id = nullif($2, encoder_id)
 WHERE id = $1 AND next_encoder_id IS DISTINCT FROM nullif($2, encoder_id)
"""
WITHOUT = """
SELECT c.id, c.document_id, c.start_char, c.end_char
  FROM rag_chunk c
 WHERE c.portfolio_id = $1 AND c.id > $3 AND NOT EXISTS (
       SELECT FROM rag_embedding e
        WHERE e.portfolio_id = $1 AND e.chunk_id = c.id AND e.encoder_id = $2)
"""
COUNT = f"SELECT count(*) FROM ({WITHOUT}) missing"  # noqa: S608
# In one statement, so that text and chunks are of one revision of the document.
MISSING = f"""
SELECT d.title, d.text, m.ids, m.starts, m.ends
  FROM (
    SELECT document_id, array_agg(id ORDER BY start_char) AS ids,
           array_agg(start_char ORDER BY start_char) AS starts,
           array_agg(end_char ORDER BY start_char) AS ends
      FROM ({WITHOUT} ORDER BY c.id LIMIT $4) missing GROUP BY document_id) m
  JOIN documents d ON d.id = m.document_id
 ORDER BY m.ids[1]
"""  # noqa: S608
# Documents that are being replaced or deleted are left out: their new chunks get both encoders'
# vectors as they are made.
HOLD_DOCUMENTS = """
SELECT d.id FROM documents d
 WHERE d.id IN (SELECT c.document_id FROM rag_chunk c WHERE c.id = ANY ($1))
 ORDER BY d.id FOR SHARE SKIP LOCKED
"""
ADD = """
INSERT INTO rag_embedding (portfolio_id, chunk_id, encoder_id, tenant_id, embedding)
SELECT $2, c.id, $3, $1, g.embedding
  FROM unnest($4::bigint[], $5::halfvec[]) AS g(id, embedding)
  JOIN rag_chunk c ON c.id = g.id AND c.portfolio_id = $2 AND c.document_id = ANY ($6)
    ON CONFLICT DO NOTHING
"""
# The version is part of every cache key: no answer from the former encoder's passages is found.
SWITCH = """
UPDATE portfolios
   SET encoder_id = $2, next_encoder_id = NULL, version = version + 1, updated_at = now()
 WHERE id = $1 AND next_encoder_id = $2
"""
DROP = """
WITH old AS (
    SELECT e.chunk_id, e.encoder_id
      FROM portfolios p JOIN rag_embedding e ON e.portfolio_id = p.id
     WHERE p.id = $1 AND e.chunk_id >= $2
       AND e.encoder_id <> p.encoder_id AND e.encoder_id IS DISTINCT FROM p.next_encoder_id
     ORDER BY e.chunk_id LIMIT $3
), gone AS (
    DELETE FROM rag_embedding e USING old
     WHERE e.portfolio_id = $1 AND e.chunk_id = old.chunk_id AND e.encoder_id = old.encoder_id
    RETURNING e.chunk_id
)
SELECT count(*) AS found, max(chunk_id) AS last, (SELECT count(*) FROM gone) AS dropped FROM old
"""


class PgReencoding:
    """The port `Reencoding` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._encoders = Encoders(database)

    async def portfolios(self, scope: Scope) -> Sequence[PortfolioEncoders]:
        async with self._database.transaction(scope) as connection:
            rows = await connection.fetch(PORTFOLIOS)
        return [PortfolioEncoders(scope=scope, **row) for row in rows]

    async def mark(self, portfolio: PortfolioEncoders, encoder: str) -> None:
        """Where it is the serving encoder already, another mark is taken away."""
        row = await self._encoders.find(encoder)
        async with self._database.transaction(portfolio.scope) as connection:
            await exclude_writers(connection, portfolio.id)
            await connection.execute(MARK, portfolio.id, row.id)

    async def count_missing(self, portfolio: PortfolioEncoders, encoder: str) -> int:
        row = await self._encoders.find(encoder)
        async with self._database.transaction(portfolio.scope) as connection:
            count: int = await connection.fetchval(
                COUNT, portfolio.id, row.id, 0, timeout=SCAN_SECONDS
            )
        return count

    async def missing(
        self, portfolio: PortfolioEncoders, encoder: str, after: int, limit: int
    ) -> Sequence[MissingVectors]:
        row = await self._encoders.find(encoder)
        async with self._database.transaction(portfolio.scope) as connection:
            found = await connection.fetch(
                MISSING, portfolio.id, row.id, after, limit, timeout=SCAN_SECONDS
            )
        return [
            MissingVectors(
                each["title"],
                each["text"],
                each["ids"],
                [Span(*ends) for ends in zip(each["starts"], each["ends"], strict=True)],
            )
            for each in found
        ]

    async def add(
        self,
        portfolio: PortfolioEncoders,
        encoder: str,
        chunk_ids: Sequence[int],
        vectors: Sequence[Vector],
    ) -> int:
        """EncoderUnavailable where a vector's length is not the encoder's dimension."""
        row = await self._encoders.find(encoder)
        values = [row.halfvec(vector) for vector in vectors]
        async with self._database.transaction(portfolio.scope) as connection:
            if not await self._is_next(connection, portfolio, row.id):
                return 0
            documents = [
                each["id"] for each in await connection.fetch(HOLD_DOCUMENTS, list(chunk_ids))
            ]
            status: str = await connection.execute(
                ADD, portfolio.scope.tenant_id, portfolio.id, row.id, list(chunk_ids), values,
                documents,
            )  # fmt: skip
        return _count(status)

    async def switch(self, portfolio: PortfolioEncoders, encoder: str) -> bool:
        row = await self._encoders.find(encoder)
        async with self._database.transaction(portfolio.scope) as connection:
            await exclude_writers(connection, portfolio.id)
            missing = await connection.fetchrow(
                f"{WITHOUT} LIMIT 1", portfolio.id, row.id, 0, timeout=SCAN_SECONDS
            )
            if missing is not None:
                return False
            return _count(await connection.execute(SWITCH, portfolio.id, row.id)) > 0

    async def drop_old(
        self, portfolio: PortfolioEncoders, after: int, limit: int
    ) -> tuple[int, int | None]:
        async with self._database.transaction(portfolio.scope) as connection:
            await hold_encoders(connection, portfolio.id)
            row = await connection.fetchrow(DROP, portfolio.id, after, limit, timeout=SCAN_SECONDS)
        return row["dropped"], row["last"] if row["found"] == limit else None

    async def _is_next(
        self, connection: asyncpg.Connection, portfolio: PortfolioEncoders, encoder_id: int
    ) -> bool:
        """Whether the portfolio is still there and still to get this encoder's vectors; both
        stay so until the transaction ends."""
        await hold_encoders(connection, portfolio.id)
        next_id = await connection.fetchval(
            "SELECT next_encoder_id FROM portfolios WHERE id = $1 FOR KEY SHARE", portfolio.id
        )
        return bool(next_id == encoder_id)


def _count(status: str) -> int:
    """The number of rows in a command's tag, such as `INSERT 0 5`."""
    return int(status.rpartition(" ")[2])
