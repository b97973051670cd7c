"""Sharing the question's words."""

from collections.abc import Sequence

from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.retrieval.ports import Hit, KeywordStore
from app.retrieval.sources import KEYWORD


class KeywordSource:
    """Chunks that share terms with the question. Raises DatabaseUnavailable."""

    name = KEYWORD

    def __init__(self, store: KeywordStore) -> None:
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
