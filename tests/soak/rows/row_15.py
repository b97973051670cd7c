"""Messages that mean something in their conversation only, asked in several of them and in none."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import httpx2

from tests.soak.deployment import deployment
from tests.soak.follow_ups.conversations import Agent, Asker, Telling
from tests.soak.follow_ups.messages import (
    ENGLISH,
    FURTHER_ENGLISH,
    FURTHER_SPANISH,
    SPANISH,
    messages,
)
from tests.soak.provider import PacedProvider
from tests.soak.row import Row, Stage, at_least, at_most
from tests.soak.unhurried import UNHURRIED

SUBJECTS = 40
CLIENTS = 8
# Everything is near everything: what keeps messages apart are the rules and the scopes.
THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """A service with an agent that is told of the conversation, and one that quotes documents."""

    http: httpx2.AsyncClient
    urls: Sequence[str]
    agents: Sequence[Agent]


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    every = messages([*ENGLISH, *SPANISH, *FURTHER_ENGLISH, *FURTHER_SPANISH])
    told = stage.chance.sample(every, round(len(every) * min(1.0, stage.seconds / ROW.seconds)))
    async with deployment(stage, replicas=2, encoder=True, **UNHURRIED) as running:
        portfolio = await running.portfolio(**documents())
        agents = [
            Agent(
                await running.agent(portfolio, provider=provider, semantic_threshold=THRESHOLD),
                reads=provider == "openai",
            )
            for provider in ("openai", "extractive")
        ]
        place = Place(running.http, running.urls, agents)
        async for figure in scenario(stage, place, running.provider, told):
            yield figure


def documents() -> dict[str, str]:
    """One about each subject, by title."""
    return {
        f"Dashboard {number}": f"The dashboard{number} was finished by Ana Ruiz in {1980 + number}."
        for number in range(1, SUBJECTS + 2)
    }


async def scenario(
    stage: Stage, place: Place, provider: PacedProvider, told: Sequence[str]
) -> AsyncIterator[tuple[str, float]]:
    """Every message to either agent; half of them without a conversation first."""
    provider.reply = Telling()
    counts: Counter[str] = Counter()
    left = iter(enumerate(product(told, place.agents)))
    subjects = min(SUBJECTS, max(1, len(told) // 2))  # each is talked about several times
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            turned = [*place.urls[number % 2 :], *place.urls[: number % 2]]
            asker = Asker(place.http, turned, counts, stage.note)
            group.create_task(_client(stage, asker, left, subjects))
    yield "messages", len(told)
    for name in (*COUNTED, *WRONG):
        yield name, counts[name]


async def _client(
    stage: Stage, asker: Asker, left: Iterator[tuple[int, tuple[str, Agent]]], subjects: int
) -> None:
    for number, (message, agent) in left:
        order = asker.conversation_first if number // 2 % 2 else asker.alone_first
        await order(agent, message, number % subjects + 1)
        if number % 100 == 99:
            wrong = sum(asker.of[each] for each in WRONG)
            stage.say(f"{asker.of['answers']} answers, {wrong} wrong")


WRONG = (
    "follow-ups answered from a cache",
    "follow-ups answered as of another conversation",
    "answers of a conversation without one",
    "messages that failed",
)
COUNTED = (
    "answers",
    "follow-ups in a conversation",
    "follow-ups that the rules do not know",
    "messages answered again as without a conversation",
    "openings answered from the cache",
    "degraded answers",
)
LIMITS = {
    **{each: at_most(0) for each in WRONG},
    "messages answered again as without a conversation": at_least(1),
    "openings answered from the cache": at_least(1),
}
ROW = Row(
    15,
    "Follow-ups are understood",
    LIMITS,
    ("messages answered again as without a conversation", "follow-ups answered from a cache"),
    measure,
)
