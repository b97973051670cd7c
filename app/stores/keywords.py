"""Chunks by word, in one round trip."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.chat.model import Scope
from app.retrieval.ports import Hit
from app.stores.database import Database, checked_id, who
from app.stores.hits import hits

SEARCH = "SELECT * FROM search_keywords(enter($1, $2, $3, $4), $5, $6, $7, $8, $9)"


class PgKeywords:
    """The port `KeywordStore` on Postgres: BM25 with the portfolio's own frequencies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keyword_search(
        self,
        scope: Scope,
        portfolio_id: int,
        query: str,
        language: str,
        limit: int,
        filters: Mapping[str, Any],
    ) -> Sequence[Hit]:
        """The `min(limit, matching)` best chunks by BM25 that share a term with the query: a
        word's stem in the chunk's language, with its accents or without, stop words of the
        query's language aside. Exactly the best, though the weights' mean length may be
        `app.stores.terms.MEAN_TOLERANCE` off. Equal scores are ordered by chunk id; `filters`
        are equalities on the documents' metadata. NotFound for the portfolio."""
        found = await self._database.fetch(
            SEARCH,
            *who(scope),
            checked_id(portfolio_id),
            query,
            language,
            limit,
            dict(filters),
        )
        return hits(found)
