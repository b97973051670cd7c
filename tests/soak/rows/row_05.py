"""Streams of two replicas that are cut at every event, resumed, robbed of a piece, or asked for by
somebody else."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from tests.soak.deployment import Deployment, deployment
from tests.soak.resuming import answers, cuts, losses, strangers
from tests.soak.resuming.answers import Answers
from tests.soak.row import Row, Stage, at_least, at_most

SECONDS = 120.0
# Of cuts at every event, in both directions and at both times; as many more as the time allows.
ROUNDS = 6
TOKEN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Scale:
    """How often everything is done; where that is not to take minutes, one cut in `every`, and
    three times as large a share of the losses."""

    rounds: int
    every: int = 1
    clients: int = 6


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    async with deployment(stage, replicas=2) as running:
        scale = Scale(max(1, round(ROUNDS * stage.seconds / SECONDS)))
        async for figure in scenario(stage, running, scale):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """The figures; on a deployment of two replicas that nobody else asks meanwhile."""
    provider = running.provider
    provider.reply = answers.reply
    provider.first_token_seconds = provider.token_seconds = TOKEN_SECONDS
    agent = await running.agent(await running.portfolio(Atlas=answers.TEXT))
    made = Answers(running, agent)
    events = await made.length()
    yield "events of an answer", events
    cutting = cuts.Cuts(made, events, stage.note)
    async with Redis.from_url(running.servers.redis_url) as redis:
        losing = losses.Losses(made, redis, stage.chance, stage.note)
        foreign = await strangers.Strangers.of_a_new_tenant(running, made, stage.note)
        for number in range(scale.rounds):
            work = _round(stage, scale, events, cutting, losing, foreign)
            await _all(work, scale.clients)
            stage.say(f"Round {number + 1} of {scale.rounds}: {_summary(cutting, losing)}")
    counted: Counter[str] = cutting.of + losing.of + foreign.of
    for name in FIGURES:
        yield name, counted[name]


def _round(
    stage: Stage,
    scale: Scale,
    events: int,
    cutting: cuts.Cuts,
    losing: losses.Losses,
    foreign: strangers.Strangers,
) -> list[Coroutine[Any, Any, None]]:
    """Everything once, on both replicas, in an order of chance."""
    work: list[Coroutine[Any, Any, None]] = []
    for home in range(2):
        work += [
            cutting.cut(home, at, when)
            for at in range(home % scale.every, events + 1, scale.every)
            for when in cuts.WHEN
        ]
        robberies = list(itertools.product(losses.HOW, losses.WHEN))
        some = robberies[home % scale.every :: -(-scale.every // 3)]
        work += [losing.lose(home, how, when) for how, when in some]
        work += [cutting.hop(home), foreign.try_all(home)]
    stage.chance.shuffle(work)
    return work


async def _all(work: list[Coroutine[Any, Any, None]], clients: int) -> None:
    async def client() -> None:
        while work:
            await work.pop()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())


def _summary(cutting: cuts.Cuts, losing: losses.Losses) -> str:
    resumed = sum(cutting.of[f"streams resumed {when}"] for when in cuts.WHEN)
    return f"{resumed} streams resumed, {losing.of['readers of a run that lost a piece']} robbed"


LIMITS = {
    **{f"streams resumed {when}": at_least(1) for when in cuts.WHEN},
    "streams read from two replicas, event by event": at_least(1),
    "resumed streams with other bytes": at_most(0),
    "readers of a run that lost a piece": at_least(1),
    "of which were told so by an error": at_least(1),
    "readers with a silent gap": at_most(0),
    "readers left waiting for what is gone": at_most(0),
    "readers told of a loss that was none": at_most(0),
    strangers.ASKED: at_least(1),
    strangers.ANSWERED: at_most(0),
}
FIGURES = tuple(LIMITS)
ROW = Row(
    5,
    "A dropped stream resumes exactly",
    LIMITS,
    ("streams resumed while it goes on", "resumed streams with other bytes"),
    measure,
    seconds=SECONDS,
)
