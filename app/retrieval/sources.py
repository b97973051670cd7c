"""The two sources every portfolio has: nearest by meaning, and sharing the question's words."""

from collections.abc import Sequence

from app.chat.encoders import EncodersByName, encoder_named
from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.retrieval.ports import EncoderChanged, Hit, PassageStore

VECTOR = "vector"
KEYWORD = "keyword"
# The encoder may have changed since the request was made, and rarely once more meanwhile.
TRIES = 5
KNOWN_SOURCES = (VECTOR, KEYWORD)


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


class KeywordSource:
    """Chunks that share terms with the question. Raises DatabaseUnavailable."""

    name = KEYWORD

    def __init__(self, store: PassageStore) -> None:
        self._store = store

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        return await self._store.keyword_search(
            scope,
            request.portfolio_id,
            request.query,
            request.language,
            request.top_k,
            request.filters,
        )
