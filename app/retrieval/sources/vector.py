"""Nearest by meaning."""

from collections.abc import Sequence

from app.chat.encoders import EncodersByName, encoder_named
from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.retrieval.ports import EncoderChanged, Hit, PassageStore
from app.retrieval.sources import VECTOR

# The encoder may have changed since the request was made, and rarely once more meanwhile.
TRIES = 5


class VectorSource:
    """Chunks nearest to the question by cosine, by the encoder that serves the portfolio.

    `encoders` are those that this process is configured with, by name. Raises EncoderUnavailable,
    also where the portfolio's is not among them, and DatabaseUnavailable.
    """

    name = VECTOR

    def __init__(self, store: PassageStore, encoders: EncodersByName) -> None:
        self._store = store
        self._encoders = encoders

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        encoder = request.encoder
        for _ in range(TRIES):
            if encoder is None:
                encoder = await self._store.encoder_of(scope, request.portfolio_id)
            vector = await encoder_named(self._encoders, encoder).embed_query(request.query)
            try:
                return await self._store.vector_search(
                    scope, request.portfolio_id, encoder, vector, request.top_k, request.filters
                )
            except EncoderChanged:
                encoder = None
        raise EncoderChanged
