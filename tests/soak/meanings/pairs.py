"""Pairs of generated questions, and what the two of each are to each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random

from app.evaluation.pairs import Pair
from tests.soak.meanings.patterns import PATTERNS, ask, others

SAME, LABELLED = "same", "labelled"


@dataclass(frozen=True, slots=True)
class Told:
    """A pair with in what alone the two differ: SAME for two wordings of one question, LABELLED
    where somebody has written them."""

    pair: Pair
    aspect: str


def generated(chance: Random, same: int, other: int) -> list[Told]:
    """So many pairs of either kind, if there are; of each language and aspect about as many."""
    return [*_in_turns(chance, _same())[:same], *_in_turns(chance, _other())[:other]]


def _same() -> Iterator[Told]:
    for pattern in PATTERNS:
        for filling in pattern.fillings():
            left = ask(pattern, filling).text
            for wording in range(1, len(pattern.wordings)):
                right = ask(pattern, filling, wording).text
                yield Told(Pair(left, right, True, pattern.language), SAME)


def _other() -> Iterator[Told]:
    """Each time the other one in the next wording, too."""
    turn = 0
    for pattern in PATTERNS:
        for filling in pattern.fillings():
            left = ask(pattern, filling).text
            for aspect, changed in others(pattern, filling):
                turn += 1
                right = ask(pattern, changed, turn % len(pattern.wordings)).text
                yield Told(Pair(left, right, False, pattern.language), aspect)


def _in_turns(chance: Random, told: Iterator[Told]) -> Sequence[Told]:
    """One of each kind after the other, within a kind by chance."""
    kinds: dict[tuple[str, str], list[Told]] = {}
    for each in told:
        kinds.setdefault((each.pair.language, each.aspect), []).append(each)
    shuffled = [chance.sample(each, len(each)) for each in kinds.values()]
    return [each for turn in zip_longest(*shuffled) for each in turn if each is not None]
