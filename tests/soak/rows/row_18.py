"""Every route by everybody, with real ids, on all replicas: again and again, side by side."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import httpx2

from tests.soak.deployment import deployment
from tests.soak.row import Row, Stage, at_least, at_most
from tests.soak.scopes.world import keys_of_tenants
from tests.support.matrix import CASES, Case, gaps
from tests.support.matrix_world import World, expected, play, world_of

CLIENTS = 6


@dataclass(frozen=True, slots=True)
class Scale:
    """How often the whole matrix is gone through, on each replica."""

    rounds: int = 6


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    full = Scale()
    scale = Scale(max(1, round(full.rounds * stage.seconds / ROW.seconds)))
    async with deployment(stage, replicas=2, encoder=True) as running:
        owners = await keys_of_tenants(running.servers, 2)
        async for figure in scenario(stage, running.http, running.urls, owners, scale):
            yield figure


async def scenario(
    stage: Stage, http: httpx2.AsyncClient, urls: Sequence[str], owners: Sequence[str], scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    document = (await http.get(f"{urls[0]}/openapi.json")).json()
    found = gaps(document, CASES)
    yield "routes", sum(map(len, document["paths"].values()))
    yield "routes that nobody classified", len(found.operations)
    yield "places of ids that nobody tries", len(found.places)
    counts: Counter[str] = Counter()
    keys = dict(zip(("owner", "stranger"), owners, strict=True))
    for url in urls:
        async with world_of(url, keys) as world, asyncio.TaskGroup() as group:
            left = itertools.chain.from_iterable(itertools.repeat(CASES, scale.rounds))
            for _ in range(CLIENTS):
                group.create_task(_client(stage, world, left, counts))
    for name in ("requests", *LIMITS):
        if name in counts or name in WRONG:
            yield name, counts[name]


async def _client(stage: Stage, world: World, left: Iterator[Case], counts: Counter[str]) -> None:
    for case in left:
        told = await play(world, case)
        counts["requests"] += len(told.statuses)
        wrong = {
            caller: status
            for caller, status in told.statuses.items()
            if status != expected(case)[caller]
        }
        for name, examples in ((WRONG[0], [str(wrong)] if wrong else []), (WRONG[1], told.leaks)):
            counts[name] += len(examples)
            for example in examples[:3]:
                stage.note(f"{name}: {case.method} {case.path}: {example}")
        if counts["requests"] % 500 < len(told.statuses):
            stage.say(f"{counts['requests']} requests")


WRONG = ("answers that are not what the caller is to get", "answers that tell of another's object")
LIMITS = {
    "routes that nobody classified": at_most(0),
    "places of ids that nobody tries": at_most(0),
    "requests": at_least(500),
    **{name: at_most(0) for name in WRONG},
}
ROW = Row(
    18,
    "Only the owner",
    LIMITS,
    ("requests", "answers that are not what the caller is to get"),
    measure,
    seconds=120,
)
