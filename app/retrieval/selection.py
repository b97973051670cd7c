"""From fused candidates to the passages of an answer: who gets one of the `top_k` places."""

from collections.abc import Iterable

from app.chat.model import Passage, QueryComplexity
from app.retrieval.diversity import diverse
from app.retrieval.fusion import Candidate
from app.retrieval.neighbours import Run, with_neighbour

# So many candidates stand for each place: some join their neighbours, and some documents have had
# their share.
POOL = 3
# One document takes no more than this part of the places while others match: "which projects …"
# asks for several, and a question about one thing is answered by the half.
DOCUMENT_SHARE = 0.5


def select(
    candidates: Iterable[Candidate], top_k: int, complexity: QueryComplexity
) -> list[Passage]:
    """The passages, best first, numbered from 1: at most `top_k`, fewer only where there are no
    more. Candidates come best first, and no more of them are taken than it needs."""
    if complexity is QueryComplexity.COMPREHENSIVE:
        pool = list(candidates)
        candidates = diverse(pool, len(pool))
    runs = place(candidates, top_k, most_of_one(top_k))
    runs.sort(key=lambda run: (-run.best.score, run.best.hit.chunk_id))
    return [run.passage(number) for number, run in enumerate(runs, start=1)]


def most_of_one(top_k: int) -> int:
    """How many of the places one document may take, at least one."""
    return max(1, round(top_k * DOCUMENT_SHARE))


def place(candidates: Iterable[Candidate], top_k: int, most: int) -> list[Run]:
    """Runs in `top_k` places, `most` of one document where there are others to fill them."""
    runs: list[Run] = []
    waiting: list[Candidate] = []
    for candidate in candidates:
        placed = with_neighbour(runs, candidate)
        if sum(run.document_id == candidate.hit.document_id for run in placed) > most:
            waiting.append(candidate)
        else:
            runs = placed
        if len(runs) == top_k:
            return runs
    for candidate in waiting:
        if len(runs) == top_k:
            break
        runs = with_neighbour(runs, candidate)
    return runs
