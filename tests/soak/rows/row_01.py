"""Streams wait for a model by the hundred; the database's few connections are for those who work.

Two replicas have the same stores: all streams are on the one, and the other is what it is compared
with, request by request, so that both see the same machine.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise

import asyncpg

from tests.soak.deployment import Deployment, deployment
from tests.soak.latency import Request, p99, percentile, times
from tests.soak.provider import words_of
from tests.soak.readers import Reader, at_once, read
from tests.soak.row import Row, Stage, at_least, at_most

POOL = 10
STREAMS = 500
OPENED_AT_ONCE = 25
# A model that thinks: what 500 streams cost the processor while tokens come is another question.
TOKEN_SECONDS = 10.0
TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
SAMPLE_SECONDS = 0.1
# Who is not idle now; the service's role is that of both replicas.
BUSY = """
SELECT pid, xact_start FROM pg_stat_activity
 WHERE usename = 'citestream_app' AND state <> 'idle'
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """So many streams with a token every so often; `quiet` seconds nobody asks anything, then
    short requests are timed for `timed` seconds."""

    streams: int
    token_seconds: float
    quiet_seconds: float
    timed_seconds: float


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    variables = {
        "CITESTREAM_DATABASE__POOL_SIZE": str(POOL),
        "CITESTREAM_PROVIDER__TOTAL_SECONDS": str(10 * stage.seconds + 600),
    }
    async with deployment(stage, replicas=2, through_proxies=False, **variables) as running:
        scale = Scale(STREAMS, TOKEN_SECONDS, stage.seconds / 5, stage.seconds)
        async for figure in scenario(stage, running, scale):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """On a deployment of two replicas that nobody else asks meanwhile."""
    agent = await running.agent(await running.portfolio(Atlas=TEXT))
    requests = await _short_requests(running, agent)
    stage.say(f"Opening {scale.streams} streams")
    readers = await _open(running, agent, scale)
    yield "streams", scale.streams
    opened = running.provider.open
    yield "streams open at once", opened
    async for figure in _sampled(running, scale.quiet_seconds):
        yield figure
    stage.say("Timing short requests on both replicas in turn")
    measured = await times(requests, scale.timed_seconds)
    yield "streams that were not open all the time", scale.streams - running.provider.open
    for figure in _compared(stage, measured):
        yield figure
    running.provider.token_seconds = 0.0
    await asyncio.gather(*(each.over for each in readers))
    yield "streams that failed", sum(each.ended != "done" for each in readers)


async def _short_requests(running: Deployment, agent: int) -> list[Request]:
    """One that writes and one that only reads, of each replica: the idle one's first. The
    question's answer is in the cache, and its turns are stored."""
    body = {"message": "Who finished Atlas?"}
    await running.json("POST", f"/api/agents/{agent}/chat", json=body)
    busy, idle = running.urls
    return [
        Request(f"{url}{path}", method, sent)
        for path, method, sent in (
            (f"/api/agents/{agent}/chat", "POST", body),
            (f"/api/agents/{agent}", "GET", None),
        )
        for url in (idle, busy)
    ]


async def _open(running: Deployment, agent: int, scale: Scale) -> list[Reader]:
    """The streams, each begun: its first words have come."""
    seconds = scale.quiet_seconds + scale.timed_seconds + scale.streams / OPENED_AT_ONCE + 60
    tokens = math.ceil(seconds / scale.token_seconds)
    provider = running.provider
    provider.first_token_seconds, provider.token_seconds = 0.0, scale.token_seconds
    provider.reply = lambda body: [*words_of(body), *["again "] * tokens][:tokens]

    async def open_one(number: int) -> Reader:
        reader = await read(running.urls[0], agent, f"Who finished Atlas {number}?", cache="off")
        await reader.begun
        return reader

    calls = [lambda number=number: open_one(number) for number in range(scale.streams)]
    return await at_once(OPENED_AT_ONCE, calls)


async def _sampled(running: Deployment, seconds: float) -> AsyncIterator[tuple[str, float]]:
    """What the database's connections do while nobody asks and tokens come. A transaction that is
    seen twice waits for something else than the database."""
    connection = await asyncpg.connect(running.superuser_url)
    samples: list[set[object]] = []
    try:
        while len(samples) * SAMPLE_SECONDS < seconds:
            samples.append({(pid, began) for pid, began in await connection.fetch(BUSY)})
            await asyncio.sleep(SAMPLE_SECONDS)
    finally:
        await connection.close()
    lasting = set[object]().union(*(a & b for a, b in pairwise(samples)))
    yield "samples of the database's connections", len(samples)
    yield "percent of them with every connection idle", 100 * samples.count(set()) / len(samples)
    yield f"connections held for {SAMPLE_SECONDS:g} s between writes", len(lasting)


def _compared(stage: Stage, measured: list[list[float]]) -> list[tuple[str, float]]:
    figures: list[tuple[str, float]] = []
    for name, at in (("cached answer", 0), ("look at an agent", 2)):
        idle, busy = measured[at : at + 2]
        figures += [
            (f"{name}: ms at p99, replica without streams", 1000 * p99(idle)),
            (f"{name}: ms at p99, replica with them", 1000 * p99(busy)),
            (f"{name}: times as long at p99", p99(busy) / p99(idle)),
        ]
        medians = [1000 * percentile(each, 0.5) for each in (idle, busy)]
        stage.note(
            f"{name}: {len(idle)} requests to each replica; medians {medians[0]:.2f} ms without "
            f"and {medians[1]:.2f} ms with streams."
        )
    return figures


LIMITS = {
    "streams open at once": at_least(STREAMS),
    "streams that were not open all the time": at_most(0),
    "streams that failed": at_most(0),
    "samples of the database's connections": at_least(50),
    f"connections held for {SAMPLE_SECONDS:g} s between writes": at_most(0),
    "cached answer: times as long at p99": at_most(1.2),
    "look at an agent: times as long at p99": at_most(1.2),
}
ROW = Row(
    1,
    "No stream holds a database connection",
    LIMITS,
    ("streams open at once", "connections held for 0.1 s between writes"),
    measure,
    seconds=60.0,
)
