"""The walk from a question's names to the chunks that connect them.

Chunks and the names in them are the two sides of a graph. A walker starts at a name of the
question, steps to one of its chunks, from there to one of the names in it, and so on; at each name
it starts anew with probability RESTART. A chunk's score is how often the walker is there:
personalised PageRank (T. H. Haveliwala, "Topic-sensitive PageRank", WWW 2002), on passages and
their entities as in HippoRAG (B. J. Gutiérrez et al., NeurIPS 2024), whose restart is 0.5 as well.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
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
    what is two hops away is still comparable with what the question names."""
    chunks_of = {link.key: link.chunks for link in links if link.chunks}
    start = starting_points([link for link in links if link.asked and link.chunks])
    steps = steps_to_names(chunks_of)
    at_names: Mapping[str, float] = start
    at_chunks: dict[int, float] = {}
    for _ in range(ROUNDS):
        at_chunks = defaultdict(float)
        for key, share in at_names.items():
            for chunk in chunks_of[key]:
                at_chunks[chunk] += share / len(chunks_of[key])
        at_names = {key: RESTART * share for key, share in start.items()}
        for chunk, share in at_chunks.items():
            for key, part in steps[chunk]:
                at_names[key] = at_names.get(key, 0.0) + (1 - RESTART) * share * part
    best = sorted(at_chunks.items(), key=lambda each: (-each[1], each[0]))
    return {chunk: math.log(share) for chunk, share in best[:limit]}


def starting_points(asked: Sequence[Link]) -> dict[str, float]:
    """Where walks start, and how often: a rare name says more about what is meant."""
    total = sum(1 / len(link.chunks) for link in asked)
    return {link.key: 1 / len(link.chunks) / total for link in asked}


def steps_to_names(chunks_of: Mapping[str, Sequence[int]]) -> dict[int, list[tuple[str, float]]]:
    """From each chunk the probability of a step to each of its names: a name in many chunks
    connects them less, so by the inverse root of how many."""
    weights: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for key, chunks in chunks_of.items():
        weight = len(chunks) ** -0.5
        for chunk in chunks:
            weights[chunk].append((key, weight))
    return {
        chunk: [(key, weight / sum(each for _, each in names)) for key, weight in names]
        for chunk, names in weights.items()
    }
