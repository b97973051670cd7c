"""Texts that stand in the portfolio twice, or almost: copies, versions, boilerplate.

Near-duplicates are found by the overlap of their shingles (A. Z. Broder, "On the resemblance and
containment of documents", 1997), here runs of three words.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from app.retrieval.fusion import Candidate

SHINGLE_WORDS = 3
# Of all shingles of two texts, so many are in both: about one word in sixty differs.
ALIKE = 0.9
# Texts that share fewer of their words than this cannot share that many shingles.
ALIKE_WORDS = 0.8
# A comparison takes 2 µs; 45 texts that hold no figures take 2 ms.
MOST_COMPARED = 45

T = TypeVar("T")

_FIGURE = re.compile(r"\d+")
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))


def without_repeats(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """The candidates in their order, of those that say the same only the first.

    The same is: equal but for case and spaces; or nearly equal with the same figures in the same
    order, because "2024" for "2023" is another statement, however long the rest. A text is
    compared with at most MOST_COMPARED others, those of equal digits: n texts of w words take
    O(n·w) steps. Takes from `candidates` no more than is taken from it.
    """
    spaced: set[str] = set()
    by_digits: dict[bytes, list[Words]] = {}
    for candidate in candidates:
        words = candidate.hit.text.casefold().split()
        text = " ".join(words)
        if text in spaced:
            continue
        spaced.add(text)
        # Finding the figures takes longer than all the rest, so only those with equal digits do.
        digits = text.encode(errors="replace").translate(None, _NO_DIGITS)
        others = by_digits.setdefault(digits, [])
        own = Words(words)
        if any(own.repeats(other) for other in others):
            continue
        if len(others) < MOST_COMPARED:
            others.append(own)
        yield candidate


@dataclass(frozen=True)
class Words:
    """A text's words in order, as the sets that texts are compared by, each made when needed."""

    words: Sequence[str]

    @cached_property
    def figures(self) -> Sequence[str]:
        return _FIGURE.findall(" ".join(self.words))

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        return frozenset(self.words)

    @cached_property
    def shingles(self) -> frozenset[tuple[str, ...]]:
        """Every run of SHINGLE_WORDS words; of a shorter text its words together."""
        runs = zip(*(self.words[start:] for start in range(SHINGLE_WORDS)), strict=False)
        return frozenset(runs) or frozenset([tuple(self.words)])

    def repeats(self, other: "Words") -> bool:
        """Whether the two texts are nearly equal, and their figures equal."""
        return (
            self.figures == other.figures
            and jaccard(self.vocabulary, other.vocabulary) >= ALIKE_WORDS
            and jaccard(self.shingles, other.shingles) >= ALIKE
        )


def jaccard(left: frozenset[T], right: frozenset[T]) -> float:
    """What is in both sets, as a share of what is in either; 1 for two empty ones."""
    common = len(left & right)
    return common / (len(left) + len(right) - common) if left or right else 1.0
