"""Pairs of questions by the shipped encoder, through the service: is one answered with the other's?

The labelled pairs that `citestream eval cache` measures on, generated ones that differ in one thing
each, and crowds in which every question meets a thousand others.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from uuid import uuid4

import httpx2

from app.embedded import embedded_servers
from app.evaluation.pairs import read_pairs
from tests.soak.meanings.asking import Counted, Met, Place, Telling, Work
from tests.soak.meanings.crowds import crowd
from tests.soak.meanings.pairs import LABELLED, Told, generated
from tests.soak.processes import complete, service
from tests.soak.provider import PacedProvider
from tests.soak.row import Row, Stage, at_least, at_most
from tests.soak.unhurried import UNHURRIED

PAIRS = Path(__file__).parents[3] / "examples" / "question-pairs.jsonl"
CLIENTS = 4
LEAST = 150  # fewer say nothing about a rate of 3 %
CLIENT_SECONDS = 60.0
SHOWN = 20
# As tests/integration/test_semantic_gate.py has them for the shipped default.
FOUND, WRONG_AT_MOST = 0.35, 0.03


@dataclass(frozen=True, slots=True)
class Scale:
    """How many pairs of each kind, and how many questions and further wordings in a crowd."""

    labelled: int = 1000  # all of them
    same: int = 600
    other: int = 2500
    crowd: int = 900  # as many as a scope of the cache keeps
    wordings: int = 600


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    full, share = Scale(), min(1.0, stage.seconds / ROW.seconds)
    rest = (full.same, full.other, full.crowd, full.wordings)
    scale = Scale(full.labelled, *(max(LEAST, round(each * share)) for each in rest))
    async with AsyncExitStack() as stack:
        place = await _place(stage, stack)
        async for figure in scenario(stage, place, scale):
            yield figure


async def scenario(stage: Stage, place: Place, scale: Scale) -> AsyncIterator[tuple[str, float]]:
    """The labelled pairs, the generated ones, the crowd."""
    labelled = [Told(pair, LABELLED) for pair in read_pairs(PAIRS)]
    told = stage.chance.sample(labelled, min(scale.labelled, len(labelled)))
    told += generated(stage.chance, scale.same, scale.other)
    counted = Counted()
    await _all(stage, _compared(place, counted, told), len(told))
    for name, written in (("labelled", True), ("generated", False)):
        for figure in _rates(name, counted, written):
            yield figure
    _tell(stage, counted)
    met = Met(crowd(stage.chance, scale.crowd, scale.wordings))
    await _all(stage, met.first(place), len(met.crowd.first))
    await _all(stage, met.then(place), len(met.crowd.then))
    for wrong in met.false[:SHOWN]:
        stage.note(f"In the crowd: {wrong}")
    yield "crowd: questions", len(met.crowd.first) + len(met.crowd.then)
    yield "crowd: other wordings found", met.hits
    yield "crowd: answers of another question", len(met.false)


def _compared(place: Place, counted: Counted, told: Sequence[Told]) -> Iterator[Work]:
    async def compare(number: int, each: Told) -> None:
        hit = await place.answers_both(each, number)
        (counted.hits if hit else counted.misses).append(each)

    return (partial(compare, number, each) for number, each in enumerate(told))


async def _all(stage: Stage, work: Iterator[Work], of: int) -> None:
    """Do it with some clients at once."""
    done = count(1)

    async def client() -> None:
        for each in work:
            await each()
            if (number := next(done)) % 500 == 0:
                stage.say(f"{number} of {of}")

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())


def _rates(name: str, counted: Counted, written: bool) -> Iterator[tuple[str, float]]:
    """Hit rate and false-hit rate, with Wilson's 95 % interval of the latter."""
    same = counted.rate(lambda each: each.pair.same and (each.aspect == LABELLED) is written)
    other = counted.rate(lambda each: not each.pair.same and (each.aspect == LABELLED) is written)
    yield f"{name}: pairs that ask the same", same.of
    yield f"{name}: hit rate", same.value
    yield f"{name}: pairs that do not", other.of
    yield f"{name}: false hits", other.count
    yield f"{name}: false-hit rate, 95 % are below", other.interval[1]


def _tell(stage: Stage, counted: Counted) -> None:
    """Below the table: rates by what differs, and what was wrong."""
    told = [*counted.hits, *counted.misses]
    for language, aspect in sorted({(each.pair.language, each.aspect) for each in told}):

        def kind(each: Told, language: str = language, aspect: str = aspect) -> bool:
            return (each.pair.language, each.aspect) == (language, aspect)

        for what, same in (("found", True), ("wrong", False)):
            rate = counted.rate(
                lambda each, kind=kind, same=same: kind(each) and each.pair.same is same
            )
            if rate.of:
                low, high = (f"{100 * bound:.1f}" for bound in rate.interval)
                stage.note(f"{language}, {aspect}: {what} {rate.count} of {rate.of} "
                           f"(95 %: {low} to {high} %)")  # fmt: skip
    for each in counted.false[:SHOWN]:
        stage.note(f"False: {each.pair.left} | {each.pair.right}")


async def _place(stage: Stage, stack: AsyncExitStack) -> Place:
    """The service as it is shipped, with the encoder that `citestream run` starts."""
    command = [sys.executable, "-m", "app.cli", "encoder", "--backend", "onnx"]
    command += ["--cache", str(stage.folder / "models")]
    servers = await stack.enter_async_context(
        embedded_servers(stage.folder / "data", encoder=command, on_progress=stage.say)
    )
    provider = await stack.enter_async_context(PacedProvider())
    variables = {
        "DATABASE_URL": servers.app_url,
        "DATABASE_OWNER_URL": servers.owner_url,
        "REDIS_URL": servers.redis_url,
        "CITESTREAM_ENCODER__URL": servers.encoder_url or "",
        "OPENAI_BASE_URL": provider.url,
        "PORT": "0",
        **UNHURRIED,
    }
    await complete(stage, "migrate", "migrate", **variables)
    api = await stack.enter_async_context(service(stage, "api", "serve", **variables))
    http = await stack.enter_async_context(
        httpx2.AsyncClient(timeout=CLIENT_SECONDS, trust_env=False)
    )
    return await furnish(http, api.url, provider)


async def furnish(http: httpx2.AsyncClient, url: str, provider: PacedProvider) -> Place:
    """An agent with a portfolio that has no documents: what is compared are the questions."""
    provider.reply = telling = Telling()
    portfolio = await http.post(f"{url}/api/portfolios", json={"name": f"soak-{uuid4().hex[:8]}"})
    body = {
        "name": f"soak-{uuid4().hex[:8]}",
        "portfolio_id": portfolio.raise_for_status().json()["id"],
        "provider": "openai",
    }
    agent = (await http.post(f"{url}/api/agents", json=body)).raise_for_status().json()["id"]
    return Place(http, url, agent, telling)


LIMITS = {
    "labelled: hit rate": at_least(FOUND),
    "labelled: false hits": at_most(0),
    "labelled: false-hit rate, 95 % are below": at_most(WRONG_AT_MOST),
    "generated: false hits": at_most(0),
    "generated: false-hit rate, 95 % are below": at_most(WRONG_AT_MOST),
    "crowd: other wordings found": at_least(1),
    "crowd: answers of another question": at_most(0),
}
ROW = Row(
    14,
    "A similar question is the same question",
    LIMITS,
    ("labelled: hit rate", "labelled: false hits"),
    measure,
    seconds=480.0,
)
