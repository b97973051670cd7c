"""The walk from a question's names to the chunks that connect them.

Chunks and the names in them are the two sides of a graph. A walker starts at a name of the
question, steps to one of its chunks, from there to one of the names in it, and so on; at each name
it starts anew with probability RESTART. A chunk's score is how often the walker is there:
personalised PageRank (T. H. Haveliwala, "Topic-sensitive PageRank", WWW 2002), on passages and
their entities as in HippoRAG (B. J. Gutiérrez et al., NeurIPS 2024), whose restart is 0.5 as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.chat.names import MAX_NAME_WORDS, words

RESTART = 0.5
# What is left after n rounds is RESTART ** n of the walk: 3 % that would change no rank.
ROUNDS = 5
# A question of 8,000 characters is asked about what its first 250 words name.
MAX_CANDIDATES = 1000


@dataclass(frozen=True, slots=True)
class Link:
    """A name with the chunks it stands in; `asked` where the question has it too."""

    key: str
    asked: bool
    chunks: Sequence[int]


def candidate_keys(question: str) -> list[str]:
    """Every key that a name in the question could have, each once: its words alone and up to
    four together, whatever their case."""
    parts = [word for word, _ in zip(words(question), range(MAX_CANDIDATES), strict=False)]
    keys = (
        " ".join(parts[start : start + length])
        for start in range(len(parts))
        for length in range(1, MAX_NAME_WORDS + 1)
    )
    return list(dict.fromkeys(keys))[:MAX_CANDIDATES]


def rank(links: Sequence[Link], limit: int) -> dict[int, float]:
    """The at most `limit` chunks where the walker is most often, best first, each with the
    logarithm of its share: a share falls by a factor with every step, its logarithm by steps, so
    what is two hops away is still comparable with what the question names.

    A walk starts at a rare name more often, which says more about what is meant: by the inverse of
    how many chunks it is in. From a chunk it steps to each of its names by the inverse root of
    that: a name in many chunks connects them less.
    """
    names = [link for link in links if link.chunks]
    if not any(link.asked for link in names):
        return {}
    places: dict[int, int] = {}
    for link in names:
        for chunk in link.chunks:
            places.setdefault(chunk, len(places))
    edges = [[places[chunk] for chunk in link.chunks] for link in names]
    starts = [link.asked / len(link.chunks) for link in names]
    total = sum(starts)
    starts = [start / total for start in starts]
    weights = [len(link.chunks) ** -0.5 for link in names]
    totals = _gathered(weights, edges, len(places))
    at_names = starts
    for _ in range(ROUNDS):
        shares = [share / len(chunks) for share, chunks in zip(at_names, edges, strict=True)]
        at_chunks = _gathered(shares, edges, len(places))
        of_names = [share / weight for share, weight in zip(at_chunks, totals, strict=True)]
        at_names = [
            RESTART * start + (1 - RESTART) * weight * sum(map(of_names.__getitem__, chunks))
            for start, weight, chunks in zip(starts, weights, edges, strict=True)
        ]
    reached = [(-at_chunks[place], chunk) for chunk, place in places.items() if at_chunks[place]]
    return {chunk: math.log(-share) for share, chunk in sorted(reached)[:limit]}


def _gathered(
    shares: Sequence[float], edges: Sequence[Sequence[int]], chunks: int
) -> Sequence[float]:
    """What each chunk gets where each name gives its share to each of its own."""
    sums = [0.0] * chunks
    for share, places in zip(shares, edges, strict=True):
        for place in places:
            sums[place] += share
    return sums
