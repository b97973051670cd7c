"""Questions that were answered beforehand, by meaning."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.chat.model import Scope, Vector
from app.retrieval.ports import Hit
from app.stores.database import Database, checked_id, who
from app.stores.encoders import Encoders
from app.stores.hits import hits

SEARCH = "SELECT * FROM search_pairs(enter($1, $2, $3, $4), $5, $6, $7, $8, $9)"


class PgPairs:
    """The port `PairStore` on pgvector."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._encoders = Encoders(database)

    async def nearest_pairs(
        self,
        scope: Scope,
        portfolio_id: int,
        encoder: str,
        vector: Vector,
        limit: int,
        filters: Mapping[str, Any],
    ) -> Sequence[Hit]:
        """The pairs nearest by cosine; none where another encoder serves the portfolio."""
        row = await self._encoders.find(encoder)
        found = await self._database.fetch(
            SEARCH,
            *who(scope),
            checked_id(portfolio_id),
            row.id,
            row.halfvec(vector),
            limit,
            dict(filters),
        )
        return hits(found)

    async def encoder_of(self, scope: Scope, portfolio_id: int) -> str:
        """The name of the encoder that serves the portfolio; NotFound for the portfolio."""
        return await self._encoders.serving(scope, portfolio_id)
