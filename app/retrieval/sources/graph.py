"""Connected with what the question names."""

from collections.abc import Sequence

from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.retrieval.graph import candidate_keys, rank
from app.retrieval.ports import GraphStore, Hit
from app.retrieval.sources import GRAPH


class GraphSource:
    """Chunks that a name of the question stands in, and those that share names with these. A
    question without a name of the portfolio's has none. Raises DatabaseUnavailable."""

    name = GRAPH

    def __init__(self, store: GraphStore) -> None:
        self._store = store

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        links = await self._store.neighbourhood(
            scope, request.portfolio_id, candidate_keys(request.query), request.filters
        )
        scores = rank(links, request.top_k)
        # A second round trip, for the texts of those that won: a neighbourhood has hundreds.
        return await self._store.hits(scope, scores) if scores else []
