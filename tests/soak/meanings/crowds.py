"""Questions of which no two ask the same, and others that ask nearly what one of them asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.soak.meanings.patterns import PATTERNS, Question, ask, others


@dataclass(frozen=True, slots=True)
class Crowd:
    """`first` are asked before `then`: other wordings of them, and what differs in one thing from
    one of them and is asked for the first time."""

    first: Sequence[Question]
    then: Sequence[Question]


def crowd(chance: Random, first: int, then: int) -> Crowd:
    """So many of each, if there are; one language after the other."""
    every = [ask(pattern, filling) for pattern in PATTERNS for filling in pattern.fillings()]
    chosen = chance.sample(every, min(first, len(every)))
    known = {each.meaning for each in chosen}
    following = []
    for number in range(then):
        near = chosen[number % len(chosen)]
        wording = chance.randrange(1, len(near.pattern.wordings))
        filling = near.filling
        if number % 2:
            new = [each for _, each in others(near.pattern, filling)]
            filling = next((each for each in chance.sample(new, len(new))
                            if (near.meaning[0], each) not in known), filling)  # fmt: skip
        following.append(ask(near.pattern, filling, wording))
    return Crowd(chosen, following)
