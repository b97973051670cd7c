"""The retriever that the core asks: choose sources, collect, fuse, select."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from app.chat.encoders import EncodersByName
from app.chat.model import Scope
from app.chat.ports import Retrieval, RetrievalRequest
from app.errors import EncoderUnavailable, InvalidInput
from app.retrieval.collect import Collected, Collector
from app.retrieval.fusion import MANY, Candidate, fuse, knows, weights
from app.retrieval.ports import Reranker, Source
from app.retrieval.repeats import without_repeats
from app.retrieval.rerank import RERANKED, RERANKER, Reranking
from app.retrieval.selection import POOL, select
from app.retrieval.sources import KNOWN_SOURCES, PERSONA

# Each source is asked for more than is wanted: fusion needs to see what two of them agree on
# further down, and repeated texts fall away.
OVERSAMPLING = 2
MIN_PER_SOURCE = 20


class HybridRetriever:
    """Implements `app.chat.ports.Retriever` over the sources that are switched on.

    `deadlines` are seconds by source, and for the reranker by "reranker"; what is not named has
    `deadline_seconds`. `encoders` tell their languages; one that is not among them counts as
    knowing every language.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        deadline_seconds: float,
        encoders: EncodersByName | None = None,
        deadlines: Mapping[str, float] | None = None,
        reranker: Reranker | None = None,
        rerank_top_n: int = RERANKED,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sources = {source.name: source for source in sources}
        # Empty until the first encoder tells its name.
        self._encoders = {} if encoders is None else encoders
        self._clock = clock
        deadlines = deadlines or {}
        self._collector = Collector(deadline_seconds, clock, deadlines)
        self._reranking = reranker and Reranking(
            reranker, deadlines.get(RERANKER, deadline_seconds), clock, rerank_top_n
        )

    async def retrieve(self, scope: Scope, request: RetrievalRequest) -> Retrieval:
        """The best passages. Raises InvalidInput for a source or top_k that cannot be, and
        DatabaseUnavailable when no source can reach the database."""
        if request.top_k < 1:
            raise InvalidInput("`top_k` must be at least 1.")
        chosen = self._choose(request.sources)
        asked = [source for source in chosen if not _is_idle(source, request)]
        wide = replace(request, top_k=max(OVERSAMPLING * request.top_k, MIN_PER_SOURCE))
        collected = await self._collector.collect(asked, scope, wide)
        timings_ms = {source.name: 0.0 for source in chosen} | dict(collected.timings_ms)
        degraded = tuple(collected.degraded)
        started = self._clock()
        fused = self._fused(request, collected)
        candidates: Iterable[Candidate] = fused
        fuse_seconds = 0.0
        if self._reranking and (read := list(fused)):
            fuse_seconds = self._clock() - started
            reranked = await self._reranking.apply(request.query, read, request.top_k)
            candidates = reranked.candidates
            timings_ms[RERANKER] = reranked.elapsed_ms
            degraded += (RERANKER,) if reranked.failed else ()
            started = self._clock()
        passages = select(candidates, request.top_k, request.complexity)
        fuse_seconds += self._clock() - started
        timings_ms["fuse"] = round(fuse_seconds * 1000, 3)
        return Retrieval(passages, timings_ms, degraded)

    def _fused(self, request: RetrievalRequest, collected: Collected) -> Iterator[Candidate]:
        """The best candidates, each text once: as many as can matter, found as they are taken."""
        by_source = weights(request.complexity, foreign=self._is_foreign(request))
        distinct = without_repeats(fuse(collected.hits, by_source))
        read = self._reranking.top_n if self._reranking else 0
        return islice(distinct, max(POOL * request.top_k, read))

    def _is_foreign(self, request: RetrievalRequest) -> bool:
        """Whether the vectors are of an encoder that never learned the question's language: of
        the portfolio's, or of any where that is not known."""
        names = list(self._encoders) if request.encoder is None else [request.encoder]
        return not all(knows(self._languages(name), request.language) for name in names)

    def _languages(self, name: str) -> Collection[str]:
        try:
            return self._encoders[name].languages
        except (KeyError, EncoderUnavailable):  # then it has no vectors to weigh either
            return (MANY,)

    def _choose(self, names: Sequence[str] | None) -> list[Source]:
        if names is None:
            return list(self._sources.values())
        if not names:
            raise InvalidInput("`sources` is empty; leave it out or name at least one source.")
        return [self._source(name) for name in dict.fromkeys(names)]

    def _source(self, name: str) -> Source:
        source = self._sources.get(name)
        if source is not None:
            return source
        if name in KNOWN_SOURCES:
            switched_on = ", ".join(self._sources) or "none"
            raise InvalidInput(
                f"The source {name!r} is switched off on this server; on: {switched_on}."
            )
        raise InvalidInput(f"{name!r} is not a source; known are {', '.join(KNOWN_SOURCES)}.")


def _is_idle(source: Source, request: RetrievalRequest) -> bool:
    """Whether there is nothing to ask it: most agents have no voice of their own, and a source
    takes a task and two timers."""
    return source.name == PERSONA and request.persona_id is None
