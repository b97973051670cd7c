"""Weighted reciprocal rank fusion: one list out of several, by ranks and how near each hit is.

G. V. Cormack, C. L. A. Clarke, S. Büttcher, "Reciprocal rank fusion outperforms Condorcet and
individual rank learning methods", SIGIR 2009: a chunk's score is the sum over the sources of
weight / (K + rank), with K = 60. Here each of these votes is scaled by what a rank does not say:
how the hit's own score compares with the best and the worst of its list, as in J. A. Shaw,
E. A. Fox, "Combination of multiple searches", TREC-2, 1994. The least of a list has half a vote;
where a source's scores are all alike, it is Cormack's sum.

XQuAD, MiniLM + BM25 with stems, nDCG@10 for English / for English questions without their rarest
word / for Spanish: ranks alone 0.972 / 0.896 / 0.967, scaled 0.977 / 0.906 / 0.967. Scores without
ranks (min-max, a convex combination) reach 0.980 / 0.907 / 0.967, but then the last of each list
counts nothing, and a source with flat or steep scores of its own would need its own scale.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from app.chat.model import QueryComplexity
from app.retrieval.ports import Hit
from app.retrieval.sources import DOMAIN, GRAPH, PERSONA, VECTOR

K = 60
DEFAULT_WEIGHT = 1.0
# Vector and keyword count alike at every level: on XQuAD no other weight between 0.5 and 1.4 is
# better by more than 0.003 for any of them, and the best one changes sides from set to set.
WEIGHTS: Mapping[str, float] = {
    # A pair asks and answers the very question, and the other two find its chunk as well.
    DOMAIN: 2.0,
    # Names lead to what shares no word with the question: two-hop questions over the samples go
    # from 0.79 to 0.92 (recall@8), and XQuAD English stays at 0.980; at 1 it is 0.974.
    GRAPH: 0.8,
}
LEVEL_WEIGHTS: Mapping[QueryComplexity, Mapping[str, float]] = {
    # Who asks for everything is not answered by one prepared answer.
    QueryComplexity.COMPREHENSIVE: {DOMAIN: 1.0},
}
# These compare vectors, so their scores are cosines, and worth what the encoder understands.
ENCODED = (VECTOR, PERSONA, DOMAIN)
# What the vectors of an encoder that never learned the language count: they add what no other
# source found, and reorder next to nothing. XQuAD Spanish, MiniLM + BM25, nDCG@10 at weights
# 1 / 0.1 / 0.01: 0.836 / 0.920 / 0.967 by ranks alone; BM25 alone 0.967, MiniLM alone 0.601.
FOREIGN_FACTOR = 0.01
# Without vectors to agree with, names count less. XQuAD Spanish, nDCG@10 without the graph / at
# 0.5 of its weight / at 1: 0.954 / 0.955 / 0.928.
FOREIGN_GRAPH_FACTOR = 0.5
# Said of an encoder that learned many languages.
MANY = "*"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk with its fused score, its rank in each source that found it, and its cosine to the
    question where a source compared vectors."""

    hit: Hit
    score: float
    ranks: Mapping[str, int]
    similarity: float | None


def knows(encoder_languages: Collection[str], language: str) -> bool:
    """Whether an encoder that was trained for these languages understands this one."""
    return MANY in encoder_languages or language in encoder_languages


def weights(complexity: QueryComplexity, *, foreign: bool) -> Mapping[str, float]:
    """How much each source counts; one that is not named counts 1. `foreign` says that the
    encoder does not understand the question's language."""
    by_source = {**WEIGHTS, **LEVEL_WEIGHTS.get(complexity, {})}
    if not foreign:
        return by_source
    factors = {**dict.fromkeys(ENCODED, FOREIGN_FACTOR), GRAPH: FOREIGN_GRAPH_FACTOR}
    unsure = {name: by_source.get(name, DEFAULT_WEIGHT) * by for name, by in factors.items()}
    return by_source | unsure


def fuse(hits: Mapping[str, Sequence[Hit]], weights: Mapping[str, float]) -> list[Candidate]:
    """Every chunk that a source found, once, best first.

    Equal scores are ordered by chunk id, and the sources' order does not matter: the same hits
    always give the same list.
    """
    found: dict[int, Hit] = {}
    ranks: dict[int, dict[str, int]] = {}
    votes: dict[int, list[float]] = {}
    for name in sorted(hits):
        weight = weights.get(name, DEFAULT_WEIGHT)
        nearness = near(hits[name])
        for rank, (hit, nearby) in enumerate(zip(hits[name], nearness, strict=True), start=1):
            if name in ranks.setdefault(hit.chunk_id, {}):
                continue
            found.setdefault(hit.chunk_id, hit)
            ranks[hit.chunk_id][name] = rank
            votes.setdefault(hit.chunk_id, []).append(weight * (1 + nearby) / 2 / (K + rank))
    cosines = similarities(hits)
    candidates = [
        Candidate(found[each], math.fsum(votes[each]), ranks[each], cosines.get(each))
        for each in found
    ]
    return sorted(candidates, key=lambda each: (-each.score, each.hit.chunk_id))


def near(hits: Sequence[Hit]) -> list[float]:
    """How near each hit's score is to the best of its list, from 0 for the worst to 1; 1 where
    all are alike, 0 for what is not a number."""
    scores = [hit.score for hit in hits if math.isfinite(hit.score)]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    span = high - low
    if not 0 < span < math.inf:
        return [1.0 for _ in hits]
    return [(hit.score - low) / span if math.isfinite(hit.score) else 0.0 for hit in hits]


def similarities(hits: Mapping[str, Sequence[Hit]]) -> dict[int, float]:
    """The cosines by chunk, of the sources that compare vectors."""
    return {
        hit.chunk_id: hit.score
        for name in ENCODED
        for hit in hits.get(name, ())
        if math.isfinite(hit.score)
    }
