"""The two sources every portfolio has: nearest by meaning, and sharing the question's words."""

from collections.abc import Sequence

from app.chat.model import Scope
from app.chat.ports import Encoder, RetrievalRequest
from app.retrieval.ports import Hit, PassageStore

VECTOR = "vector"
KEYWORD = "keyword"
KNOWN_SOURCES = (VECTOR, KEYWORD)


class VectorSource:
    """Chunks nearest to the question by cosine. Raises EncoderUnavailable, DatabaseUnavailable."""

    name = VECTOR

    def __init__(self, store: PassageStore, encoder: Encoder) -> None:
        self._store = store
        self._encoder = encoder

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        vector = await self._encoder.embed_query(request.query)
        return await self._store.vector_search(
            scope,
            request.portfolio_id,
            self._encoder.name,
            vector,
            request.top_k,
            request.filters,
        )


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
