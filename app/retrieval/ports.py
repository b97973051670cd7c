"""What a retrieval source is, and what it asks of the passage store."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from app.chat.model import Scope, Vector
from app.chat.ports import RetrievalRequest
from app.errors import EncoderUnavailable
from app.retrieval.graph import Link


class EncoderChanged(EncoderUnavailable):
    """The portfolio is served by another encoder by now; try again."""


class Hit(NamedTuple):
    """A chunk as one source found it. `score` is comparable within that source only; for the
    vector source it is the cosine to the question, in [-1, 1].

    `ordinal` counts a document's chunks from 0; `tail` is what stands between this chunk and the
    next one in the document: white space, or nothing.
    """

    chunk_id: int
    document_id: int
    title: str
    uri: str | None
    text: str
    start: int
    end: int
    language: str
    ordinal: int
    tail: str
    score: float


class Source(Protocol):
    """One way to retrieve. Raises AppError when it cannot; the collector owns its deadline."""

    @property
    def name(self) -> str: ...

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        """At most `request.top_k` hits, best first."""
        ...


class Reranker(Protocol):
    """A model that reads a question and a text together. Raises AppError when it cannot."""

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """How well each text answers the query, in their order: higher is better, any scale."""
        ...


class PassageStore(Protocol):
    async def vector_search(
        self,
        scope: Scope,
        portfolio_id: int,
        encoder: str,
        vector: Vector,
        limit: int,
        filters: Mapping[str, Any],
    ) -> Sequence[Hit]:
        """The `min(limit, matching)` chunks nearest by cosine, in one round trip: exact below
        the crossover, HNSW above it, exact again where HNSW came back short. `filters` are
        equalities on the documents' metadata. EncoderChanged where another encoder serves the
        portfolio, also where that came to be during the search."""
        ...

    async def encoder_of(self, scope: Scope, portfolio_id: int) -> str:
        """The name of the encoder that serves the portfolio; NotFound for the portfolio."""
        ...


class PairStore(Protocol):
    async def nearest_pairs(
        self,
        scope: Scope,
        portfolio_id: int,
        encoder: str,
        vector: Vector,
        limit: int,
        filters: Mapping[str, Any],
    ) -> Sequence[Hit]:
        """The chunks of questions with answers that are nearest by cosine, in one round trip;
        none where another encoder serves the portfolio."""
        ...

    async def encoder_of(self, scope: Scope, portfolio_id: int) -> str:
        """The name of the encoder that serves the portfolio; NotFound for the portfolio."""
        ...


class KeywordStore(Protocol):
    async def keyword_search(
        self,
        scope: Scope,
        portfolio_id: int,
        query: str,
        language: str,
        limit: int,
        filters: Mapping[str, Any],
    ) -> Sequence[Hit]:
        """Chunks that share at least one term with the query, best first."""
        ...


class GraphStore(Protocol):
    async def neighbourhood(
        self, scope: Scope, portfolio_id: int, keys: Sequence[str], filters: Mapping[str, Any]
    ) -> Sequence[Link]:
        """Those of `keys` that the portfolio has, and the names two hops around them, each with
        its chunks that match the filters; bounded whatever the portfolio's size. Names that stand
        nearly everywhere are left out. NotFound for the portfolio."""
        ...

    async def hits(self, scope: Scope, scores: Mapping[int, float]) -> Sequence[Hit]:
        """The tenant's chunks of these ids with these scores, the best first, then by id."""
        ...
