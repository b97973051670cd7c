"""Redis is killed, stopped, slow and reset under streams, one after the other.

Each fault has a rehearsal right before it: the same streams without it. What it costs is the
difference between the two at the same moments.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.soak.asking import ask
from tests.soak.deployment import Deployment, deployment
from tests.soak.provider import WORDS, words_of
from tests.soak.readers import Reader, read
from tests.soak.row import Row, Stage, at_most

STREAMS = 200  # under each fault
TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
KEPT = "Who finished Atlas?"
LATENCY_SECONDS = 5.0
# The service gives Redis 0.2 s, of which a stream that is on its way may have to wait all; whoever
# asks a little later must not wait any more.
OPENING_SECONDS = 0.3
RESET_EVERY_SECONDS = 0.1
HIT_EVERY_SECONDS = 0.02
PATIENCE_SECONDS = 20.0
# What a process has in its own memory it answers whatever becomes of Redis.
WITHOUT_MEMORY = {"CITESTREAM_CACHE__LOCAL_MB": "0"}


@dataclass(frozen=True, slots=True)
class Scale:
    """So many streams in so many seconds; the fault comes after a fifth of them and is over after
    four fifths. An answer takes as long as they all do in coming, so that most of them are being
    written when it strikes."""

    streams: int
    seconds: float

    @property
    def strikes(self) -> float:
        return self.seconds / 5

    @property
    def heals(self) -> float:
        return self.seconds * 4 / 5


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike` goes on until it is cancelled; `heal` returns when Redis is as it was."""

    name: str
    strike: Callable[[Deployment], Awaitable[None]]
    heal: Callable[[Deployment], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A stream and when it was asked for, in seconds from the first."""

    at: float
    question: str
    reader: Reader


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    async with deployment(stage, **WITHOUT_MEMORY) as running:
        async for figure in scenario(stage, running, Scale(STREAMS, stage.seconds / 8)):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """On a deployment that nobody else asks meanwhile."""
    agent = await prepared(running, scale)
    failed = 0
    for fault in FAULTS:
        stage.say(f"{scale.streams} streams, and as many while Redis is {fault.name}")
        usual = await _streams(running, agent, scale, fault.name + ", rehearsed")
        disturbed, back = await under(fault, running, agent, scale)
        failed += failures(stage, [*usual, *disturbed])
        for figure in _lateness(stage, fault, scale, usual, disturbed):
            yield figure
        yield f"{fault.name}: seconds until answers come from the cache again", back
    yield "failed streams", failed
    yield "calls of the model left open", running.provider.open


async def prepared(running: Deployment, scale: Scale) -> int:
    """An agent to ask."""
    running.provider.reply = _reply
    running.provider.token_seconds = scale.seconds / WORDS
    return await running.agent(await running.portfolio(Atlas=TEXT))


async def under(
    fault: Fault, running: Deployment, agent: int, scale: Scale
) -> tuple[list[Asked], float]:
    """The streams with the fault among them; how long after its end the cache answers again."""
    await _await_hit(running, agent)
    async with asyncio.TaskGroup() as group:
        streams = group.create_task(_streams(running, agent, scale, fault.name))
        back = group.create_task(_strike(fault, running, agent, scale))
    return streams.result(), back.result()


def failures(stage: Stage, asked: Sequence[Asked]) -> int:
    """How many have not brought the whole answer with a `done` at its end."""
    return sum(_failed(stage, each) for each in asked)


async def _streams(running: Deployment, agent: int, scale: Scale, name: str) -> list[Asked]:
    """Ask at an even pace, each stream another question, and hear all of them to the end."""
    loop = asyncio.get_running_loop()
    first = loop.time()
    asked: list[Asked] = []
    for number in range(scale.streams):
        await asyncio.sleep(first + number * scale.seconds / scale.streams - loop.time())
        question = f"Who finished Atlas, while Redis is {name}, for the {number}th time?"
        at = loop.time() - first
        asked.append(Asked(at, question, await read(running.urls[0], agent, question)))
    async with asyncio.timeout(scale.seconds + PATIENCE_SECONDS):
        await asyncio.gather(*(each.reader.over for each in asked))
    return asked


async def _strike(fault: Fault, running: Deployment, agent: int, scale: Scale) -> float:
    """Strike and heal at their times."""
    await asyncio.sleep(scale.strikes)
    striking = asyncio.create_task(fault.strike(running))
    await asyncio.sleep(scale.heals - scale.strikes)
    striking.cancel()
    with suppress(asyncio.CancelledError):
        await striking
    await fault.heal(running)
    return await _await_hit(running, agent)


async def _await_hit(running: Deployment, agent: int) -> float:
    """Ask one question until its answer is a cached one; how long that took. Where the cache has
    been lost, the next finds what the first one puts in."""
    began, cached = time.perf_counter(), False
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not cached:
            answer = await ask(running.http, running.urls[0], agent, KEPT)
            cached = answer.raise_for_status().json()["cached"]
            await asyncio.sleep(0 if cached else HIT_EVERY_SECONDS)
    return time.perf_counter() - began


def _reply(body: dict[str, Any]) -> Sequence[str]:
    """One word at once to the question that is cached, an answer at its pace to the others."""
    return ["Ana."] if body["messages"][-1]["content"] == KEPT else words_of(body)


def _failed(stage: Stage, asked: Asked) -> bool:
    ended, whole = (
        asked.reader.ended,
        "".join(words_of({"messages": [{"content": asked.question}]})),
    )
    if ended == "done" and asked.reader.text == whole:
        return False
    stage.note(f"Asked {asked.at:.2f} s after the first: {asked.question} It ended with {ended}.")
    return True


def _lateness(
    stage: Stage, fault: Fault, scale: Scale, usual: Sequence[Asked], disturbed: Sequence[Asked]
) -> list[tuple[str, float]]:
    """How much later than in the rehearsal the first words come, in milliseconds."""
    opened = scale.strikes + OPENING_SECONDS
    met, after = (scale.strikes - OPENING_SECONDS, opened), (opened, scale.heals)
    before = [median(_first_words(usual, *each)) for each in (met, after)]
    late = sorted(_first_words(disturbed, *after))
    stage.note(
        f"{fault.name}: first words after {before[1]:.1f} ms in the rehearsal, with the breaker "
        f"open {median(late):.1f} ms, 95 % of them within {late[int(0.95 * len(late))]:.1f} ms."
    )
    return [
        (f"{fault.name}: ms later at most, until the breaker opens",
         max(_first_words(disturbed, *met)) - before[0]),
        (f"{fault.name}: ms later in the median, after that", median(late) - before[1]),
    ]  # fmt: skip


def _first_words(asked: Sequence[Asked], since: float, until: float) -> list[float]:
    """Milliseconds, of those that were asked in that time; one that has none does not count here,
    but has failed."""
    return [
        1000 * each.reader.first_token
        for each in asked
        if since <= each.at < until and each.reader.first_token is not None
    ]


async def _kill(running: Deployment) -> None:
    running.kill_redis()


async def _start(running: Deployment) -> None:
    await running.start_redis()


async def _stop(running: Deployment) -> None:
    running.stop_redis()


async def _continue(running: Deployment) -> None:
    running.continue_redis()


async def _delay(running: Deployment) -> None:
    running.redis.delay_seconds = LATENCY_SECONDS


async def _speed_up(running: Deployment) -> None:
    running.redis.delay_seconds = 0.0


async def _reset(running: Deployment) -> None:
    while True:
        running.redis.reset()
        await asyncio.sleep(RESET_EVERY_SECONDS)


async def _leave_alone(running: Deployment) -> None:
    """New connections are what they were."""


FAULTS = (
    Fault("killed", _kill, _start),
    Fault("stopped", _stop, _continue),
    Fault("slow", _delay, _speed_up),
    Fault("reset", _reset, _leave_alone),
)
LIMITS = {
    **{
        f"{fault.name}: {figure}": limit
        for fault in FAULTS
        for figure, limit in (
            ("ms later at most, until the breaker opens", at_most(200)),
            ("ms later in the median, after that", at_most(5)),
            ("seconds until answers come from the cache again", at_most(2)),
        )
    },
    "failed streams": at_most(0),
    "calls of the model left open": at_most(0),
}
ROW = Row(
    8,
    "Redis is optional",
    LIMITS,
    ("failed streams", "killed: seconds until answers come from the cache again"),
    measure,
    seconds=120.0,
)
