"""Chunks by word, in one round trip."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.chat.model import Scope
from app.retrieval.ports import Hit
from app.stores.database import Database, checked_id
from app.stores.hits import hit

SEARCH = "SELECT * FROM search_keywords($1, $2, $3, $4, $5, $6)"


class PgKeywords:
    """The port `KeywordStore` on Postgres' text search."""

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
        """Chunks that share at least one word's stem with the query, stop words aside; those
        with more of them, closer together or in the title first. NotFound for the portfolio."""
        found = await self._database.fetch(
            SEARCH,
            scope.tenant_id,
            checked_id(portfolio_id),
            query,
            language,
            limit,
            dict(filters),
        )
        return [hit(record) for record in found]
