"""Asking a service pairs of questions, and crowds of them, to see whose answer comes."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import httpx2

from app.evaluation.pairs import Rate
from tests.soak.asking import ask
from tests.soak.meanings.crowds import Crowd
from tests.soak.meanings.pairs import Told
from tests.soak.meanings.patterns import Question

# The scope of the crowd; a pair's is its number.
CROWDED = -1
Work: TypeAlias = Callable[[], Awaitable[None]]


class Telling:
    """A model that answers with the number of the call, and remembers what it was asked then."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, body: Mapping[str, Any]) -> Sequence[str]:
        self.asked.append(body["messages"][-1]["content"])
        return ["Answer ", f"{len(self.asked) - 1}"]

    def question_of(self, answer: str) -> str:
        """The question that an answer was made for."""
        return self.asked[int(answer.removeprefix("Answer "))]


@dataclass(slots=True)
class Counted:
    """Pairs by what became of them, and those that were wrong."""

    hits: list[Told] = field(default_factory=list)
    misses: list[Told] = field(default_factory=list)

    def rate(self, kinds: Callable[[Told], bool]) -> Rate:
        """How many of the pairs of these kinds were answered by one answer."""
        hits = sum(map(kinds, self.hits))
        return Rate(hits, hits + sum(map(kinds, self.misses)))

    @property
    def false(self) -> list[Told]:
        return [each for each in self.hits if not each.pair.same]


@dataclass(frozen=True, slots=True)
class Place:
    """A service with an agent that asks `Telling`."""

    http: httpx2.AsyncClient
    url: str
    agent: int
    telling: Telling

    async def answers_both(self, told: Told, number: int) -> bool:
        """Whether the right question is given the left one's answer, where nothing else was asked
        (the number makes a scope of the pair's own). Raises where either fails."""
        left = await self._ask(told.pair.left, told.pair.language, number)
        right = await self._ask(told.pair.right, told.pair.language, number)
        if right["cached"] and right["answer"] != left["answer"]:
            raise RuntimeError(f"{told.pair.right!r} had an answer from another scope.")
        return bool(right["cached"])

    async def answered_as(self, question: Question) -> str | None:
        """The question whose answer it is given in a crowd; None where it is answered anew."""
        answer = await self._ask(question.text, question.pattern.language, CROWDED)
        return self.telling.question_of(answer["answer"]) if answer["cached"] else None

    async def _ask(self, message: str, language: str, scope: int) -> dict[str, Any]:
        options = {"language": language, "filters": {"scope": scope}}
        response = await ask(self.http, self.url, self.agent, message, **options)
        answer: dict[str, Any] = response.raise_for_status().json()
        return answer


class Met:
    """What came of a crowd in one scope: `hits` had the answer of a question that asks the same,
    `false` those of another one."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.hits = 0
        self.false: list[str] = []
        self._meanings = {each.text: each.meaning for each in (*crowd.first, *crowd.then)}

    def first(self, place: Place) -> Iterator[Work]:
        """None of them asks what another one does."""
        return (partial(self._meet, place, each) for each in self.crowd.first)

    def then(self, place: Place) -> Iterator[Work]:
        return (partial(self._meet, place, each) for each in self.crowd.then)

    async def _meet(self, place: Place, question: Question) -> None:
        found = await place.answered_as(question)
        if found is None:
            return
        if self._meanings[found] == question.meaning:
            self.hits += 1
        else:
            self.false.append(f"{question.text} | {found}")
