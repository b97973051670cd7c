"""Every question of a data set to the retriever: each source alone, and all of them fused."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from app.chat.language import recognise
from app.chat.model import Passage, Scope
from app.chat.ports import Retrieval, RetrievalRequest, Retriever
from app.evaluation.dataset import Query
from app.evaluation.loading import Loaded

FUSED = "fused"
TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Plan:
    """How to ask. `sources` are measured alone; `fused` are those that are fused, None for all
    that are switched on. `top_k` counts passages. `language` None: recognised per question."""

    sources: Sequence[str]
    fused: Sequence[str] | None
    top_k: int
    language: str | None = None

    def runs(self) -> Mapping[str, Sequence[str] | None]:
        """What to ask by the run's name. Fused is first, so its times have the encoding in them:
        after it the question's vector is remembered."""
        return {FUSED: self.fused, **{name: [name] for name in self.sources}}


@dataclass(frozen=True, slots=True)
class Asked:
    """What one question came to: by run the documents, best first, and what was degraded; the
    fused run's times by stage, with the caller's own time as "total"."""

    query: Query
    language: str
    rankings: Mapping[str, Sequence[str]]
    degraded: Mapping[str, Sequence[str]]
    timings_ms: Mapping[str, float]


async def ask(
    retriever: Retriever, scope: Scope, loaded: Loaded, queries: Sequence[Query], plan: Plan
) -> AsyncIterator[Asked]:
    """The questions one after the other, so that no time has another question's work in it."""
    for query in queries:
        language = plan.language or await recognise(query.text)
        rankings: dict[str, Sequence[str]] = {}
        degraded: dict[str, Sequence[str]] = {}
        timings_ms: Mapping[str, float] = {}
        for run, sources in plan.runs().items():
            request = RetrievalRequest(
                query.text, loaded.portfolio_id, plan.top_k, language, sources=sources
            )
            found, total_ms = await _timed(retriever, scope, request)
            rankings[run] = documents(found.passages, loaded.ids, query.excluded)
            degraded[run] = found.degraded
            if run == FUSED:
                timings_ms = {**found.timings_ms, TOTAL: total_ms}
        yield Asked(query, language, rankings, degraded, timings_ms)


async def _timed(
    retriever: Retriever, scope: Scope, request: RetrievalRequest
) -> tuple[Retrieval, float]:
    started = time.perf_counter()
    found = await retriever.retrieve(scope, request)
    return found, (time.perf_counter() - started) * 1000


def documents(
    passages: Sequence[Passage], ids: Mapping[int, str], excluded: str | None
) -> list[str]:
    """The documents of some passages, each at the rank of its best one. One that is not of the
    data set keeps its rank under a name that nothing is relevant by."""
    found = (ids.get(each.document_id, f"\0{each.document_id}") for each in passages)
    return [each for each in dict.fromkeys(found) if each != excluded]
