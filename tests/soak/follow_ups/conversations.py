"""Conversations about a subject each, and what is asked in them that is asked without one, too."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any

import httpx2

from app.chat.context import depends_on_conversation
from tests.soak.asking import ask

SUBJECT = re.compile(r"\bdashboard(\d+)\b")
OPENING = "Who finished the dashboard{}?"
REWRITES = "You rewrite"
MAX_NOTES = 10


class Telling:
    """A model that tells which call this is, and which subjects the conversation before was about.
    Asked to rewrite a follow-up, it makes another conversation's opening of it: what is cached for
    that must not be what the follow-up is answered with."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def __call__(self, body: Mapping[str, Any]) -> Sequence[str]:
        system, *before, _ = (each["content"] for each in body["messages"])
        if system.startswith(REWRITES):
            return [OPENING.format(1)]
        subjects = sorted(set(SUBJECT.findall(" ".join(before[:1]))))
        return [f"call{next(self._numbers)} ", f"after {' '.join(subjects) or 'nothing'}. [1]"]


@dataclass(frozen=True, slots=True)
class Agent:
    """Who is asked. One that `reads` a conversation says what it was told of it."""

    id: int
    reads: bool


class Asker:
    """Asks one message after the other, and judges each answer by where it may come from."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        urls: Sequence[str],
        of: Counter[str],
        note: Callable[[str], None],
    ) -> None:
        self._http = http
        self._urls = cycle(urls)
        self._note = note
        self.of = of

    async def alone_first(self, agent: Agent, message: str, subject: int) -> None:
        """Without a conversation, then in one, then without one again."""
        first = await self.alone(agent, message)
        await self.within(agent, message, subject)
        again = await self.alone(agent, message)
        if again is not None and first is not None and again["cached"]:
            self.of["messages answered again as without a conversation"] += 1
            if again["answer"] != first["answer"]:
                self._wrong("answers of a conversation without one", message, again)

    async def conversation_first(self, agent: Agent, message: str, subject: int) -> None:
        """In a conversation, then without one, then in another."""
        await self.within(agent, message, subject)
        alone = await self.alone(agent, message)
        if alone is not None and alone["cached"]:
            self._wrong("answers of a conversation without one", message, alone)
        await self.within(agent, message, subject + 1)

    async def alone(self, agent: Agent, message: str) -> dict[str, Any] | None:
        """The answer to a message with nothing before it."""
        answer = await self._ask(agent, message)
        if answer is not None and agent.reads and "after nothing" not in answer["answer"]:
            self._wrong("answers of a conversation without one", message, answer)
        return answer

    async def within(self, agent: Agent, message: str, subject: int) -> None:
        """Open a conversation about the subject, and ask the message in it."""
        opened = await self._ask(agent, OPENING.format(subject))
        if opened is None:
            return
        self.of["openings answered from the cache"] += opened["cached"]
        answer = await self._ask(agent, message, conversation_id=opened["conversation_id"])
        if answer is None:
            return
        self.of["follow-ups in a conversation"] += 1
        self.of["follow-ups that the rules do not know"] += not depends_on_conversation(
            message, answer["language"]
        )
        if answer["cached"]:
            self._wrong("follow-ups answered from a cache", message, answer)
        if agent.reads and f"after {subject}." not in answer["answer"]:
            self._wrong("follow-ups answered as of another conversation", message, answer)

    async def _ask(self, agent: Agent, message: str, **body: Any) -> dict[str, Any] | None:
        response = await ask(self._http, next(self._urls), agent.id, message, **body)
        if response.is_error:
            self._wrong("messages that failed", message, response.text)
            return None
        self.of["answers"] += 1
        answer: dict[str, Any] = response.json()
        self.of["degraded answers"] += bool(answer["degraded"])
        return answer

    def _wrong(self, what: str, message: str, told: Any) -> None:
        self.of[what] += 1
        if self.of[what] <= MAX_NOTES:
            said = told["answer"] if isinstance(told, dict) else told
            self._note(f"{what}: {message!r}: {said[:120]!r}")
