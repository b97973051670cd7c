"""Figures of one ranking against what is relevant: pure, and exactly those of trec_eval.

A ranking is ids of documents, best first, each once. `relevant` maps ids to grades above 0.
"""

import math
from collections.abc import Collection, Mapping, Sequence


def ndcg(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Normalised discounted cumulative gain of the first k, from 0 to 1.

    K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4),
    2002: each document's gain, divided by the logarithm of its rank, over what the best possible
    ranking would have. The gain is the grade itself and the discount log2(rank + 1), as in
    trec_eval's `ndcg_cut` and so in BEIR; not the 2^grade - 1 that others use.
    """
    ideal = _discounted(sorted(relevant.values(), reverse=True)[:k])
    return _discounted([relevant.get(each, 0) for each in ranking[:k]]) / ideal if ideal else 0.0


def _discounted(gains: Sequence[int]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def recall(ranking: Sequence[str], relevant: Collection[str], k: int) -> float:
    """The share of what is relevant that is among the first k, whatever its grade (trec_eval's
    `recall`, BEIR's Recall@k): with more than k relevant documents it cannot reach 1."""
    return len(set(ranking[:k]) & set(relevant)) / len(relevant) if relevant else 0.0


def first_relevant(ranking: Sequence[str], relevant: Collection[str]) -> int | None:
    """The rank, from 1, of the first relevant document; None where there is none."""
    return next((rank for rank, each in enumerate(ranking, start=1) if each in relevant), None)


def reciprocal_rank(ranking: Sequence[str], relevant: Collection[str], k: int) -> float:
    """One over the rank of the first relevant document, 0 where none is among the first k. Its
    mean over the questions is MRR@k (E. M. Voorhees, "The TREC-8 question answering track
    report", 1999)."""
    rank = first_relevant(ranking[:k], relevant)
    return 1 / rank if rank else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
