"""A thousand times: several ask while one changes what they are told about."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.soak.deployment import Deployment, deployment
from tests.soak.freshness.clients import Client, Counts, interleaving
from tests.soak.freshness.room import SUBJECTS, Room, Shelf, new_word, prompt_of, words_in
from tests.soak.row import Row, Stage, at_least, at_most

# The encoder hears words only: one more or less in eight is this far away, and guards decide.
THRESHOLD = 0.6
FIRST_TOKEN_SECONDS = 0.03
TOKEN_SECONDS = 0.015


@dataclass(frozen=True, slots=True)
class Scale:
    """How many interleavings, in how many rooms at once; with one client who changes, `clients`
    in all. Half of the rooms are answered by quotations, half by a model's server."""

    interleavings: int = 1000
    rooms: int = 6
    clients: int = 4
    workers: int = 2


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    full = Scale()
    share = stage.seconds / ROW.seconds
    scale = Scale(max(full.rooms, round(full.interleavings * share)))
    async with deployment(stage, replicas=full.workers, encoder=True) as running:
        async for figure in scenario(stage, running, scale):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """All interleavings, a room's one after another."""
    running.provider.reply = echo
    running.provider.first_token_seconds = FIRST_TOKEN_SECONDS
    running.provider.token_seconds = TOKEN_SECONDS
    counts = Counts(stage.note)
    left = iter(range(scale.interleavings))

    async def occupy(room: Room, chance: random.Random) -> None:
        clients = [Client(running, counts, chance) for _ in range(scale.clients)]
        for number in left:
            await interleaving(room, clients)
            counts.of["interleavings"] += 1
            if number % 100 == 99:
                stage.say(f"{number + 1} interleavings, {counts.of['answers']} answers")

    async with asyncio.TaskGroup() as group:
        for number in range(scale.rooms):
            chance = random.Random(stage.chance.random())
            room = await furnish(running, "openai" if number % 2 else "extractive", counts, chance)
            group.create_task(occupy(room, chance))
    for name in (*COUNTED, *WRONG):
        yield name, counts.of[name]


async def furnish(
    running: Deployment, provider: str, counts: Counts, chance: random.Random
) -> Room:
    """An agent with its first portfolio, and both portfolios filled."""
    shelves = [Shelf(await running.portfolio()) for _ in range(2)]
    revision = new_word("revision")
    agent = await running.agent(
        shelves[0].portfolio_id,
        provider=provider,
        system_prompt=prompt_of(revision),
        semantic_threshold=THRESHOLD,
    )
    room = Room(agent, provider, shelves, revision)
    furnisher = Client(running, counts, chance)
    for _ in shelves:
        for subject in SUBJECTS:
            await furnisher.replace(room, subject)
        await furnisher.move(room, SUBJECTS[0])
    return room


def echo(body: Mapping[str, Any]) -> Sequence[str]:
    """Every telling word of the prompt and its passages, each cut in two, and some more."""
    told = words_in(body["messages"][0]["content"])
    pieces = [piece for each in told for piece in (each[:8], f"{each[8:]} ")]
    return [*pieces, *("and ", "that ", "is ", "all.")]


WRONG = (
    "answers with what was gone",
    "answers without the text of the time",
    "requests that failed",
)
COUNTED = (
    "interleavings",
    "changes",
    "answers",
    "answers written while a change was acknowledged",
    "answers that had to have the text of the time",
    "answers found by the same question",
    "answers found by another question",
    "answers shared while they were written",
    "degraded answers",
)
LIMITS = {
    "interleavings": at_least(6),
    **{each: at_least(1) for each in COUNTED[1:-1]},
    **{each: at_most(0) for each in WRONG},
}
ROW = Row(
    12,
    "Never stale",
    LIMITS,
    ("interleavings", "answers with what was gone"),
    measure,
)
