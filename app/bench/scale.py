"""`citestream bench scale`: what a new question's first token takes with more of everything.

Two sides of each kind of growth are asked in short turns, in an order of chance, by one client: a
ratio is made of one round's medians, so a machine that is busy is so for both. More portfolios are
in a second database with a service of its own, cached answers and none in two more Redises, with a
service each; a longer conversation and a larger portfolio stand beside the others. The encoder and
the provider, at full speed, are the same for all.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

from redis.asyncio import Redis

from app.bench import growing
from app.bench.cached_items import answer_in, put_answers
from app.bench.figures import Figure
from app.bench.installation import OURS, Agents, Installation, open_site
from app.bench.processes import serving

TURN = 10  # questions of one side before the other's
PORTFOLIOS, MESSAGES, ANSWERS, CHUNKS = 1.1, 1.2, 1.05, 1.5
MANY, EMPTY, FULL = "many portfolios", "no answers", "many answers"
# Databases of the one Redis: nothing that is remembered for one side is found by another.
MANY_NUMBER, NUMBERS = 1, {EMPTY: 2, FULL: 3}
ASKING = 8  # clients that ask what is not measured


@dataclass(frozen=True, slots=True)
class Load:
    """How much of each there is, and how many questions each side is asked in a round."""

    chunks: int = 100_000
    few_chunks: int = 1_000
    portfolios: int = 1_000
    few_portfolios: int = 10
    messages: int = 1_000
    few_messages: int = 2
    answers: int = 100_000
    asked_answers: int = 1_000  # of them by asking, all that the semantic cache compares
    questions: int = 100


@dataclass(frozen=True, slots=True)
class Side:
    """Whom to ask on what. `conversations` has one for each question, in turn."""

    program: str
    agents: Agents
    conversations: Callable[[int], Sequence[str]] | None = None


@dataclass(frozen=True, slots=True)
class Growth:
    """Milliseconds of each round, with few of something and with many."""

    of: str
    few: int
    many: int
    limit: float
    few_ms: list[float] = field(default_factory=list)
    many_ms: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [many / few for few, many in zip(self.few_ms, self.many_ms, strict=True)]

    def figures(self) -> list[Figure]:
        return [
            Figure(f"first token with {self.few:,} {self.of}: p50", "ms", self.few_ms),
            Figure(f"first token with {self.many:,} {self.of}: p50", "ms", self.many_ms),
            Figure("  growth", "×", self.ratios, self.limit),
        ]


@dataclass(frozen=True, slots=True)
class Scaling:
    """What all kinds of growth are measured with."""

    running: Installation
    say: Callable[[str], None]
    rounds: int
    load: Load

    async def measure(
        self,
        growth: Growth,
        few: Side,
        many: Side,
        before: Callable[[], Awaitable[object]] | None = None,
    ) -> list[Figure]:
        """`before` is called before each round."""
        for number in range(self.rounds + 1):
            if before is not None:
                await before()
            times: Mapping[int, list[float]] = {0: [], 1: []}
            for _ in range(self.load.questions // TURN):
                for place in random.sample((0, 1), 2):
                    times[place].extend(await _ask(self.running, (few, many)[place]))
            if number:  # the first warms everything up
                growth.few_ms.append(median(times[0]) * 1000)
                growth.many_ms.append(median(times[1]) * 1000)
        self.say(f"{growth.few:,} to {growth.many:,} {growth.of}: {median(growth.ratios):.3g} ×")
        return growth.figures()


async def bench_scale(
    running: Installation, say: Callable[[str], None], rounds: int, load: Load
) -> list[Figure]:
    """On an installation of `few_chunks`. Raises WorkerFailed."""
    wrong, scaling = running.wrong, Scaling(running, say, rounds, load)
    made = [
        *await _portfolios(scaling),
        *await _answers(scaling),
        *await _messages(scaling),
        *await _chunks(scaling),
    ]
    return [*made, Figure("answers that were cached", "", [running.wrong - wrong], 0)]


async def _portfolios(scaling: Scaling) -> list[Figure]:
    running, load = scaling.running, scaling.load
    await growing.add_portfolios(running.site, load.few_portfolios - 1)
    growth = Growth("portfolios", load.few_portfolios, load.portfolios, PORTFOLIOS)
    async with _many_portfolios(scaling) as many:
        return await scaling.measure(growth, Side(OURS, running.site.agents), many)


async def _answers(scaling: Scaling) -> list[Figure]:
    growth = Growth("cached answers", 0, scaling.load.answers, ANSWERS)
    async with _with_answers(scaling) as (empty, full):
        return await scaling.measure(growth, empty, full, _emptied(scaling.running))


async def _messages(scaling: Scaling) -> list[Figure]:
    """A short conversation for each question, and a long one for all of them."""
    site, load = scaling.running.site, scaling.load
    wanted = (scaling.rounds + 1) * load.questions
    short = iter(await growing.add_conversations(site, wanted, load.few_messages))
    [long] = await growing.add_conversations(site, 1, load.messages)
    growth = Growth("messages before", load.few_messages, load.messages, MESSAGES)
    return await scaling.measure(
        growth,
        Side(OURS, site.agents, lambda count: [next(short) for _ in range(count)]),
        Side(OURS, site.agents, lambda count: [long] * count),
    )


async def _chunks(scaling: Scaling) -> list[Figure]:
    site, load = scaling.running.site, scaling.load
    large = await growing.add_chunks(site, load.chunks, scaling.say)
    growth = Growth("chunks", load.few_chunks, load.chunks, CHUNKS)
    return await scaling.measure(growth, Side(OURS, site.agents), Side(OURS, large))


async def _ask(running: Installation, side: Side) -> list[float]:
    """Seconds to the first token of each."""
    messages = running.questions(TURN)
    conversations = side.conversations(TURN) if side.conversations else None
    requests = await side.agents.requests(messages, conversations=conversations)
    first: list[float] = (await running.ask(side.program, requests, 1))["first"]
    return first


@asynccontextmanager
async def _many_portfolios(scaling: Scaling) -> AsyncIterator[Side]:
    """A service on a database with so many of them, of which one is as large as the other's."""
    running, load = scaling.running, scaling.load
    servers = await growing.second_database(running.site.servers, MANY_NUMBER)
    environment = {
        **running.site.environment,
        "DATABASE_URL": servers.app_url,
        "DATABASE_OWNER_URL": servers.owner_url,
        "REDIS_URL": servers.redis_url,
    }
    folder = running.folder / "many"
    encoder = running.site.agents.library.encoder
    opening = open_site(servers, environment, folder, load.few_chunks, scaling.say, encoder)
    async with opening as other:
        await growing.add_portfolios(other, load.portfolios - 1)
        with running.joined(MANY, other.program):
            yield Side(MANY, other.agents)


@asynccontextmanager
async def _with_answers(scaling: Scaling) -> AsyncIterator[tuple[Side, Side]]:
    """Two services on the same database that have been asked as much, one of which has a Redis that
    is full: some answers by asking, the rest copies of one of them under other questions' keys."""
    running, load = scaling.running, scaling.load
    site = running.site
    async with AsyncExitStack() as stack:
        for name, number in NUMBERS.items():
            environment = {**site.environment, "REDIS_URL": _redis_url(running, number)}
            log = running.folder / f"{number}.log"
            program = await stack.enter_async_context(serving(environment, log))
            stack.enter_context(running.joined(name, program))
            asked = await site.agents.requests(running.questions(load.asked_answers))
            await running.ask(name, asked, ASKING)
        full = _redis_url(running, NUMBERS[FULL])
        await growing.give_room(full)
        value = await answer_in(full)
        await put_answers(site, full, value, load.answers - load.asked_answers)
        scaling.say(f"{load.answers:,} cached answers, most of {len(value):,} bytes")
        yield Side(EMPTY, site.agents), Side(FULL, site.agents)


def _emptied(running: Installation) -> Callable[[], Awaitable[object]]:
    """Forget what the service with the empty Redis has been asked."""

    async def empty() -> None:
        redis = Redis.from_url(_redis_url(running, NUMBERS[EMPTY]))
        await redis.flushdb()
        await redis.aclose()

    return empty


def _redis_url(running: Installation, number: int) -> str:
    return growing.numbered(running.site.servers.redis_url, number)
