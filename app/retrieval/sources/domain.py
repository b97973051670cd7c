"""What was answered beforehand: a portfolio's glossary and its questions with answers."""

from collections.abc import Sequence

from app.chat.encoders import EncodersByName, encoder_named
from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.retrieval.ports import Hit, PairStore
from app.retrieval.sources import DOMAIN

LIMIT = 3
# A pair comes before all documents, so it must be about the same thing.
MIN_SIMILARITY = 0.5


class DomainSource:
    """Pairs whose question is near to the one asked. Raises EncoderUnavailable."""

    name = DOMAIN

    def __init__(self, store: PairStore, encoders: EncodersByName) -> None:
        self._store = store
        self._encoders = encoders

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        encoder = request.encoder or await self._store.encoder_of(scope, request.portfolio_id)
        vector = await encoder_named(self._encoders, encoder).embed_query(request.query)
        limit = min(request.top_k, LIMIT)
        hits = await self._store.nearest_pairs(
            scope, request.portfolio_id, encoder, vector, limit, request.filters
        )
        return [hit for hit in hits if hit.score >= MIN_SIMILARITY]
