"""The same questions at the same time by two tenants, their agents, and in all kinds of scopes."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from tests.soak.asking import ask, stream
from tests.soak.deployment import deployment
from tests.soak.provider import PacedProvider
from tests.soak.row import Row, Stage, at_least, at_most
from tests.soak.scopes.tracing import Telling, Traces
from tests.soak.scopes.world import Scope, World, keys_of_tenants
from tests.soak.unhurried import UNHURRIED

TENANTS = 2
CLIENTS = 8
# All ask the same: each guard is passed, and to the encoder there is hardly a difference.
WORDINGS = (
    "Who finished the {} dashboard in {}?",
    "Please, who finished the {} dashboard in {}?",
    "who finished the {} dashboard in {}",
    "Hello, who finished the {} dashboard in {}? Thanks",
    "Do you know who finished the {} dashboard in {}?",
)
NAMES = ("Atlas", "Borea", "Ceres", "Delos", "Echo", "Fauna", "Gaia")
YEARS = (2019, 2020, 2021, 2022, 2023, 2024)


@dataclass(frozen=True, slots=True)
class Scale:
    """How many subjects are asked for, in how many wordings, each how often, in every scope:
    in all of the 28 scopes these are 11,760 questions."""

    subjects: int = len(NAMES) * len(YEARS)
    wordings: int = len(WORDINGS)
    times: int = 2

    def questions(self) -> list[str]:
        subjects = list(product(NAMES, YEARS))[: self.subjects]
        return [
            wording.format(*subject)
            for wording in WORDINGS[: self.wordings]
            for subject in subjects
        ] * self.times


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    full = Scale()
    scale = Scale(max(1, min(full.subjects, round(full.subjects * stage.seconds / ROW.seconds))))
    async with deployment(stage, replicas=2, encoder=True, **UNHURRIED) as running:
        world = World(running.http, running.urls)
        for number, key in enumerate(await keys_of_tenants(running.servers, TENANTS)):
            await world.add_tenant(number, key)
        async for figure in scenario(stage, world, running.provider, scale):
            yield figure


async def scenario(
    stage: Stage, world: World, provider: PacedProvider, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """Every question in every scope, in an order of chance, on all replicas at once."""
    provider.reply = Telling()
    traces = Traces(stage.note)
    asked = list(product(world.scopes, scale.questions()))
    stage.chance.shuffle(asked)
    left = iter(asked)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            chance = random.Random(stage.chance.random())
            url = world.urls[number % len(world.urls)]
            group.create_task(_client(stage, world, url, left, traces, chance))
    yield "scopes", len(world.scopes)
    yield "questions", len(asked)
    yield "answers that the model was called for", len(provider.calls)
    for name in (*WRONG, "degraded answers"):
        yield name, traces.of[name]
    names = [scope.name for scope in world.scopes if not scope.refused]
    yield "hits of the same question, least of a scope", min(traces.exact[each] for each in names)
    yield "hits of another wording, least of a scope", min(traces.semantic[each] for each in names)
    yield "hits of the same question", traces.exact.total()
    yield "hits of another wording", traces.semantic.total()


async def _client(
    stage: Stage,
    world: World,
    url: str,
    left: Iterator[tuple[Scope, str]],
    traces: Traces,
    chance: random.Random,
) -> None:
    for scope, message in left:
        if chance.random() < 0.5:
            await _whole(world, url, scope, message, traces)
        else:
            await _streamed(world, url, scope, message, traces)
        if traces.of["answers"] % 1000 == 0:
            wrong = sum(traces.of[each] for each in WRONG)
            stage.say(f"{traces.of['answers']} answers, {wrong} wrong")


async def _whole(world: World, url: str, scope: Scope, message: str, traces: Traces) -> None:
    response = await ask(
        world.http, url, scope.agent, message, headers=scope.headers, **scope.options
    )
    if scope.refused and response.status_code == 404:
        return
    if response.is_error:
        traces.failed(scope, f"{response.status_code} {response.text}")
        return
    answer = response.json()
    traces.take(scope, answer["answer"], answer)


async def _streamed(world: World, url: str, scope: Scope, message: str, traces: Traces) -> None:
    heard = await stream(
        world.http, url, scope.agent, message, headers=scope.headers, **scope.options
    )
    if scope.refused and heard.status == 404:
        return
    if heard.ended != "done":
        traces.failed(scope, f"{heard.status} {heard.raw[-200:]!r}")
        return
    traces.take(scope, heard.text, heard.events[-1])


WRONG: Sequence[str] = (
    "answers shared by two scopes",
    "answers with another scope's marks",
    "citations of another scope's documents",
    "questions that failed",
)
LIMITS = {
    **{each: at_most(0) for each in WRONG},
    "hits of the same question, least of a scope": at_least(1),
    "hits of another wording, least of a scope": at_least(1),
}
ROW = Row(
    13,
    "Never another tenant's, nor another agent's",
    LIMITS,
    ("hits of another wording, least of a scope", "answers shared by two scopes"),
    measure,
)
