"""The likeliest next questions, asked in advance while nobody asks anything. Off by default.

What followed a question most often in the agent's conversations is asked in the conversation that
has just got its answer, so that whoever asks it next finds it cached, with a model that reads the
conversation, too.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from app.chat.model import Question, Scope
from app.chat.normalise import normalise_message
from app.chat.plan import Plan
from app.chat.warming import Asked, Warm, Warmed, most_frequent
from app.errors import AppError

log = structlog.get_logger(__name__)

# A process counts as idle when no run has begun or ended for so long. Who reads an answer takes
# seconds; who sends many questions does not pause for one.
IDLE_SECONDS = 1.0
# Of the questions that may come next only one will, and each costs what an answer costs.
PER_ANSWER = 2
# Bounds the bill, however many conversations there are.
PER_MINUTE = 10
# What followed once is an accident.
AT_LEAST = 2
DAYS = 30
# Answers whose next question may still come. Older ones have been followed, or will not be.
REMEMBERED = 20
MINUTE = 60.0


class NextQuestions(Protocol):
    """What was asked next, from the source of truth."""

    async def following(
        self, scope: Scope, agent_id: int, message: str, days: int
    ) -> Sequence[Asked]:
        """The messages that came next after this one in its conversations of the last days, most
        often first. Those that differ in spaces alone may be several."""
        ...


@dataclass(frozen=True, slots=True)
class _Answered:
    """A question that was answered; `question` names agent and conversation by their ids."""

    scope: Scope
    agent_id: int
    question: Question


def likeliest(following: Iterable[Asked], message: str) -> list[str]:
    """The messages to ask in advance after this one, likeliest first. Pure."""
    same = normalise_message(message)
    others = (each for each in following if normalise_message(each.message) != same)
    return [each.message for each in most_frequent(others, PER_ANSWER, AT_LEAST)]


class Prefetcher:
    """Watches a process's runs (`app.chat.producing.Watcher`) and uses the time between them."""

    def __init__(
        self,
        questions: NextQuestions,
        warm: Warm,
        clock: Callable[[], float],
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._questions = questions
        self._warm = warm
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._active = 0
        self._answered: deque[_Answered] = deque(maxlen=REMEMBERED)
        self._stirred = asyncio.Event()
        self._work: asyncio.Future[None] | None = None
        self._spent: deque[float] = deque(maxlen=PER_MINUTE)

    def began(self) -> None:
        """A run has begun: it gets all there is of the process and of the provider."""
        self._active += 1
        self._stirred.set()
        if self._work is not None:
            self._work.cancel()

    def ended(self, plan: Plan, answered: bool) -> None:
        """A run has come to its end."""
        self._active -= 1
        if answered and plan.use_cache:
            asked = replace(
                plan.question, agent=plan.agent.id, conversation_id=plan.ids.conversation
            )
            self._answered.append(_Answered(plan.scope, plan.agent.id, asked))
        self._stirred.set()

    async def run(self) -> None:
        """Go on until cancelled. Whatever fails is logged, and left for the next answer."""
        while True:
            await self._until_idle()
            self._work = asyncio.ensure_future(self._prefetch(self._answered.pop()))
            [outcome] = await asyncio.gather(self._work, return_exceptions=True)
            self._work = None
            if isinstance(outcome, AppError):
                log.info("prefetch failed", code=outcome.code)
            elif isinstance(outcome, Exception):
                log.error("prefetch failed", exc_info=outcome)

    async def _until_idle(self) -> None:
        """Return when something was answered, and nothing has happened for a moment."""
        while True:
            self._stirred.clear()
            if self._active or not self._answered:
                await self._stirred.wait()
                continue
            try:
                async with asyncio.timeout(self._idle_seconds):
                    await self._stirred.wait()
            except TimeoutError:
                if not self._active:  # one may have begun in the same instant
                    return

    async def _prefetch(self, answered: _Answered) -> None:
        if not self._may_spend():
            return
        scope, question = answered.scope, answered.question
        following = await self._questions.following(
            scope, answered.agent_id, question.message, DAYS
        )
        for message in likeliest(following, question.message):
            if not self._may_spend():
                return
            self._spent.append(self._clock())
            if await self._warm(scope, replace(question, message=message)) is Warmed.CACHED:
                self._spent.pop()  # it cost nothing

    def _may_spend(self) -> bool:
        return len(self._spent) < PER_MINUTE or self._clock() - self._spent[0] >= MINUTE
