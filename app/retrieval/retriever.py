"""The retriever that the core asks: choose sources, collect, fuse."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from app.chat.model import Scope
from app.chat.ports import Retrieval, RetrievalRequest
from app.errors import InvalidInput
from app.retrieval.collect import Collector
from app.retrieval.fusion import fuse, weights
from app.retrieval.ports import Source
from app.retrieval.sources import KNOWN_SOURCES

# Each source is asked for more than is wanted: fusion needs to see what two of them agree on
# further down, and repeated texts fall away.
OVERSAMPLING = 2
MIN_PER_SOURCE = 20


class HybridRetriever:
    """Implements `app.chat.ports.Retriever` over the sources that are switched on.

    `encoder_languages` are those the vector source's encoder was trained for.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        deadline_seconds: float,
        encoder_languages: Collection[str] = frozenset({"en"}),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sources = {source.name: source for source in sources}
        self._encoder_languages = encoder_languages
        self._clock = clock
        self._collector = Collector(deadline_seconds, clock)

    async def retrieve(self, scope: Scope, request: RetrievalRequest) -> Retrieval:
        """The best passages. Raises InvalidInput for a source or top_k that cannot be, and
        DatabaseUnavailable when no source can reach the database."""
        if request.top_k < 1:
            raise InvalidInput("`top_k` must be at least 1.")
        chosen = self._choose(request.sources)
        wide = replace(request, top_k=max(OVERSAMPLING * request.top_k, MIN_PER_SOURCE))
        collected = await self._collector.collect(chosen, scope, wide)
        started = self._clock()
        by_language = weights(request.language, self._encoder_languages)
        passages = fuse(collected.hits, by_language, request.top_k)
        fuse_ms = round((self._clock() - started) * 1000, 3)
        return Retrieval(
            passages=passages,
            timings_ms={**collected.timings_ms, "fuse": fuse_ms},
            degraded=collected.degraded,
        )

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
