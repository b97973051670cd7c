"""The fused candidates in a reranker's order, where there is one and it answers in time."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from app.retrieval.collect import unexpected
from app.retrieval.deadlines import Deadlines
from app.retrieval.fusion import Candidate
from app.retrieval.ports import Reranker

log = structlog.get_logger(__name__)

RERANKER = "reranker"
# A small cross-encoder reads some 100 pairs a second on a core; below the thirtieth place fusion
# hardly ever leaves what answers.
RERANKED = 30


@dataclass(frozen=True, slots=True)
class Reranked:
    """The candidates best first, the time it took, and whether they are in the reranker's order."""

    candidates: Sequence[Candidate]
    elapsed_ms: float
    failed: bool = False


class Reranking:
    """A reranker behind its own deadline: late or failing, it changes nothing. It reads the best
    `top_n`.

    `clock` gives seconds and never goes back.
    """

    def __init__(
        self,
        reranker: Reranker,
        deadline_seconds: float,
        clock: Callable[[], float],
        top_n: int = RERANKED,
    ) -> None:
        self.top_n = top_n
        self._reranker = reranker
        self._seconds = deadline_seconds
        self._clock = clock
        self._deadlines = Deadlines()

    async def apply(self, query: str, candidates: Sequence[Candidate], top_k: int) -> Reranked:
        """The first `top_n` candidates, or `top_k` if that is more, by the reranker's scores;
        what it did not read is left out. All of them as they were where it fails."""
        started = self._clock()
        read = candidates[: max(self.top_n, top_k)]
        task = asyncio.create_task(self._scores(query, read), name=RERANKER)
        await self._deadlines.settle({task: self._seconds})
        scores = task.result() if task.done() else None
        elapsed_ms = round((self._clock() - started) * 1000, 3)
        if scores is None:
            return Reranked(candidates, elapsed_ms, failed=True)
        return Reranked(by_scores(read, scores), elapsed_ms)

    async def _scores(self, query: str, candidates: Sequence[Candidate]) -> Sequence[float] | None:
        try:
            async with asyncio.timeout(self._seconds):
                scores = await self._reranker.rerank(query, [each.hit.text for each in candidates])
            if len(scores) != len(candidates) or not all(map(math.isfinite, scores)):
                raise ValueError(f"{len(scores)} scores for {len(candidates)} texts, or no numbers")
        except Exception as error:  # its fault must not become the answer's
            reason = "timeout" if isinstance(error, TimeoutError) else type(error).__name__
            log.warning("reranker_failed", reason=reason, exc_info=unexpected(error))
            return None
        return scores


def by_scores(candidates: Sequence[Candidate], scores: Sequence[float]) -> list[Candidate]:
    """The candidates with these scores, best first; equal ones stay in their order."""
    scored = [
        replace(each, score=float(score)) for each, score in zip(candidates, scores, strict=True)
    ]
    return sorted(scored, key=lambda each: -each.score)
