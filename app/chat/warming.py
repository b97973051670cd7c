"""Asking in advance what is asked often, so that its answer is cached when somebody wants it."""

import asyncio
import enum
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from app.chat.administration import AgentRecord, Agents
from app.chat.context import depends_on_conversation
from app.chat.model import Question, Scope
from app.chat.normalise import normalise_message
from app.errors import AppError, NotFound

# One failure is bad luck. After so many in a row the provider is away or refuses, and every further
# question only costs time.
FAILURES_IN_A_ROW = 3
AGENTS_A_PAGE = 200


class Warmed(enum.StrEnum):
    """What became of a question that was asked in advance."""

    CACHED = "already cached"
    PRODUCED = "produced"
    NOT_CACHEABLE = "not cacheable"


Warm = Callable[[Scope, Question], Awaitable[Warmed]]
Show = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A message as it was asked, in the language in which it was answered, and how many times."""

    message: str
    language: str
    times: int


class FrequentQuestions(Protocol):
    """What was asked, from the source of truth."""

    async def frequent(self, scope: Scope, agent_id: int, days: int) -> Sequence[Asked]:
        """The messages that the agent answered most often in the last days, most often first.
        Those that differ in spaces alone may be several."""
        ...


def most_frequent(asked: Iterable[Asked], top: int, at_least: int = 1) -> list[Asked]:
    """The `top` that were asked most often, and at least so many times, of those that mean the
    same in every conversation. Messages of one cache key count as one; it is asked as the first
    of them. Pure."""
    merged: dict[tuple[str, str], Asked] = {}
    for each in asked:
        if depends_on_conversation(each.message, each.language):
            continue
        key = (normalise_message(each.message), each.language)
        known = merged.get(key)
        merged[key] = replace(known, times=known.times + each.times) if known else each
    often = [each for each in merged.values() if each.times >= at_least]
    return sorted(often, key=lambda each: (-each.times, each.message))[:top]


@dataclass(slots=True)
class Outcome:
    """How many questions came to what; `stopped` by the last of too many failures in a row."""

    counts: Counter[Warmed] = field(default_factory=Counter)
    failed: int = 0
    stopped: AppError | None = None


class Warmer:
    """Asks each agent's most frequent questions anew. What is cached already costs a look-up."""

    def __init__(self, warm: Warm, agents: Agents, questions: FrequentQuestions) -> None:
        self._warm = warm
        self._agents = agents
        self._questions = questions

    async def run(
        self, scope: Scope, agent: str | None, top: int, days: int, concurrency: int, show: Show
    ) -> Outcome:
        """Warm `top` questions of the agent of this name or id, or of every agent, `concurrency`
        at a time. `show` is told of the agent's name, how many are done, and of how many.

        Ends early, as the outcome says, when the provider fails again and again. NotFound for an
        agent that is not there.
        """
        outcome = Outcome()
        for record in await self._chosen(scope, agent):
            asked = await self._questions.frequent(scope, record.id, days)
            questions = [
                Question(record.id, each.message, language=each.language)
                for each in most_frequent(asked, top)
            ]
            questioned = _Agent(self._warm, scope, questions, outcome)
            await questioned.run(concurrency, partial(show, record.name))
            if outcome.stopped:
                break
        return outcome

    async def _chosen(self, scope: Scope, agent: str | None) -> Sequence[AgentRecord]:
        every: list[AgentRecord] = []
        after = None
        while True:
            page = await self._agents.list(scope, AGENTS_A_PAGE, after)
            every += page.items
            if (after := page.next) is None:
                break
        if agent is None:
            return every
        chosen = [each for each in every if each.name == agent] or [
            each for each in every if str(each.id) == agent
        ]
        if not chosen:
            raise NotFound("There is no such agent.")
        return chosen


class _Agent:
    """One agent's questions on their way."""

    def __init__(
        self, warm: Warm, scope: Scope, questions: Sequence[Question], outcome: Outcome
    ) -> None:
        self._warm = warm
        self._scope = scope
        self._questions = questions
        self._outcome = outcome
        self._in_a_row = 0
        self._done = 0

    async def run(self, concurrency: int, show: Callable[[int, int], None]) -> None:
        waiting = iter(self._questions)
        show(0, len(self._questions))

        async def work() -> None:
            for question in waiting:  # each worker takes the next one
                await self._one(question)
                self._done += 1
                show(self._done, len(self._questions))
                if self._outcome.stopped:
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())

    async def _one(self, question: Question) -> None:
        outcome = self._outcome
        try:
            warmed = await self._warm(self._scope, question)
        except AppError as error:
            outcome.failed += 1
            self._in_a_row += 1
            if self._in_a_row >= FAILURES_IN_A_ROW:
                outcome.stopped = error
            return
        outcome.counts[warmed] += 1
        if warmed is not Warmed.CACHED:  # which says nothing of the provider
            self._in_a_row = 0
