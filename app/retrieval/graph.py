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

import numpy as np

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
    sizes = np.array([len(link.chunks) for link in names])
    start = np.array([float(link.asked) for link in names]) / sizes
    start /= start.sum()
    # An edge for each chunk of each name: both by their places.
    ids, chunk = np.unique(np.concatenate([link.chunks for link in names]), return_inverse=True)
    name = np.repeat(np.arange(len(names)), sizes)
    weights = sizes[name] ** -0.5
    steps = weights / np.bincount(chunk, weights)[chunk]
    at_names = start
    for _ in range(ROUNDS):
        at_chunks = np.bincount(chunk, (at_names / sizes)[name])
        at_names = RESTART * start + (1 - RESTART) * np.bincount(name, at_chunks[chunk] * steps)
    best = np.lexsort((ids, -at_chunks))[:limit]
    return {int(ids[place]): math.log(at_chunks[place]) for place in best if at_chunks[place]}
