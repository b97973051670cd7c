"""Chunks by meaning, in one round trip."""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from app.chat.model import Scope, Vector
from app.retrieval.ports import EncoderChanged, Hit
from app.stores.database import Database, checked_id, who
from app.stores.encoders import Encoders
from app.stores.hits import hits

VECTOR = "SELECT * FROM search_vectors(enter($1, $2, $3, $4), $5, $6, $7, $8, $9, $10, $11, $12)"
CHANGED = "CS001"  # what `search_vectors` raises where another encoder serves the portfolio


class PgPassages:
    """The port `PassageStore` on pgvector.

    `exact_below_chunks`: a portfolio (or what the filters leave of it) smaller than this is
    scanned exactly. `ef_search`: how many candidates HNSW keeps at a time.
    """

    def __init__(self, database: Database, exact_below_chunks: int, ef_search: int) -> None:
        self._database = database
        self._encoders = Encoders(database)
        self._exact_below = exact_below_chunks
        self._ef_search = ef_search

    async def vector_search(
        self,
        scope: Scope,
        portfolio_id: int,
        encoder: str,
        vector: Vector,
        limit: int,
        filters: Mapping[str, Any],
    ) -> Sequence[Hit]:
        """The `min(limit, matching)` chunks nearest by cosine. NotFound for the portfolio,
        EncoderChanged where another encoder serves it."""
        row = await self._encoders.find(encoder)
        try:
            found = await self._database.fetch(
                VECTOR,
                *who(scope),
                checked_id(portfolio_id),
                row.id,
                row.dimension,
                row.halfvec(vector),
                limit,
                dict(filters) or None,
                self._exact_below,
                self._ef_search,
            )
        except asyncpg.PostgresError as error:
            if error.sqlstate == CHANGED:
                raise EncoderChanged from error
            raise
        return hits(found)

    async def encoder_of(self, scope: Scope, portfolio_id: int) -> str:
        """The name of the encoder that serves the portfolio; NotFound for the portfolio."""
        return await self._encoders.serving(scope, portfolio_id)
