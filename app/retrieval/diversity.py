"""Maximal marginal relevance: of what answers, what says something new.

J. Carbonell, J. Goldstein, "The use of MMR, diversity-based reranking for reordering documents and
producing summaries", SIGIR 1998. Likeness is that of words, because texts are at hand here and
vectors are not.
"""

import re
from collections.abc import Sequence

from app.chat.language import fold
from app.chat.patterns.words import ENGLISH, SPANISH
from app.retrieval.fusion import Candidate

# How much relevance counts against novelty; 0.7 to 0.9 find the same documents on the samples.
RELEVANCE = 0.7
_WORD = re.compile(r"\w{2,}")
_FUNCTION_WORDS = ENGLISH | SPANISH


def diverse(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """`count` of the candidates, each the one that is most relevant and least like those before
    it. Takes count × len(candidates) comparisons of word sets, about 1 µs each."""
    if not candidates:
        return []
    relevance = relevances(candidates)
    words = [content_words(each.hit.text) for each in candidates]
    likeness = [0.0] * len(candidates)
    left = list(range(len(candidates)))
    chosen: list[int] = []
    while left and len(chosen) < count:
        best = max(left, key=lambda at: RELEVANCE * relevance[at] - (1 - RELEVANCE) * likeness[at])
        left.remove(best)
        chosen.append(best)
        for at in left:
            likeness[at] = max(likeness[at], overlap(words[at], words[best]))
    return [candidates[at] for at in chosen]


def relevances(candidates: Sequence[Candidate]) -> list[float]:
    """The scores from 0 for the worst candidate to 1 for the best, whatever their scale."""
    scores = [each.score for each in candidates]
    low, span = min(scores), max(scores) - min(scores)
    return [(score - low) / span if span else 1.0 for score in scores]


def content_words(text: str) -> frozenset[str]:
    """The words that say what a text is about, without accents and capitals."""
    return frozenset(_WORD.findall(fold(text))) - _FUNCTION_WORDS


def overlap(left: frozenset[str], right: frozenset[str]) -> float:
    """How much of the shorter text's words the other one has, too."""
    return len(left & right) / (min(len(left), len(right)) or 1)
