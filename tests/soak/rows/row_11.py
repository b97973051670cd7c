"""Readers that hardly read: what they cost the server, when it lets them go, and what others feel.

Half of them have an answer each, as large as answers get; the others all follow one that is too
large for any buffer on the way. Another replica, without slow readers, is what short requests are
compared with; a reader of the large answer that reads as fast as it comes has to have all of it.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.soak.asking import rss_mb
from tests.soak.deployment import Deployment, deployment
from tests.soak.latency import Request, p99, times
from tests.soak.readers import Reader, at_once, read, request_of
from tests.soak.row import Row, Stage, at_least, at_most
from tests.soak.slow_readers import SlowReader, connect, read_slowly

READERS = 200
ASKED_AT_ONCE = 20
TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
LARGE = "What is there to say about Atlas, all in all?"
# An answer of 60,000 characters, which is more than models give, and one of two million.
WORDS = ["word " * 100] * 120
LARGE_WORDS = ["word " * 800] * 500
LARGE_SECONDS = 4.0
DROPPED_SECONDS = 30.0
# To notice it, on both sides; the kernel asks a closed window ever more rarely.
NOTICED_SECONDS = 10.0
PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Scale:
    """So many slow readers, for so long unless all are dropped before; short requests are timed
    for `timed` seconds while they hang. `large`: the deltas of the large answer."""

    readers: int
    seconds: float
    timed_seconds: float
    large: Sequence[str]


FULL = Scale(READERS, 2 * (DROPPED_SECONDS + NOTICED_SECONDS), 20.0, LARGE_WORDS)


@dataclass
class Memory:
    """Of a replica, and of the kernel for everybody's connections: before, and at most."""

    pid: int
    before: float = field(init=False)
    most: float = 0.0
    kernel_before: float = field(init=False)
    kernel_most: float = 0.0

    def __post_init__(self) -> None:
        self.before, self.kernel_before = rss_mb(self.pid), kernel_mb()

    async def look(self) -> None:
        self.most = max(self.most, rss_mb(self.pid) - self.before)
        self.kernel_most = max(self.kernel_most, kernel_mb() - self.kernel_before)


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    async with deployment(stage, replicas=2, through_proxies=False) as running:
        async for figure in scenario(stage, running, FULL):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """On a deployment of two replicas that nobody else asks meanwhile."""
    provider, url = running.provider, running.urls[0]
    agent = await running.agent(await running.portfolio(Atlas=TEXT))
    provider.reply = lambda body: scale.large if _is_large(body) else WORDS
    stage.say(f"{scale.readers} readers that read")
    await _usual(running, agent, scale)
    memory = Memory(running.replicas[0].process.pid)
    stage.say(f"{scale.readers} readers that take ten bytes a second")
    provider.token_seconds = LARGE_SECONDS / len(scale.large)
    large = await read(url, agent, LARGE, cache="off", grace_seconds=60)
    await large.begun
    slow = await _slow(running, agent, large, scale)
    try:
        async with asyncio.TaskGroup() as group:
            server = psutil.Process(memory.pid)
            group.create_task(read_slowly(slow, server, memory.look, scale.seconds))
            measured = group.create_task(_timed(running, agent, large, scale))
    finally:
        for each in slow:
            each.close()
    yield "slow readers", len(slow)
    for figure in [*_dropped(slow), *_remembered(memory), *_compared(measured.result())]:
        yield figure
    yield "others who did not get their whole answer", large.text != "".join(scale.large)
    yield "calls of the model left open", provider.open


async def _usual(running: Deployment, agent: int, scale: Scale) -> None:
    """The same answers to readers that read: what remains of those in memory, for who comes back
    to them, is no matter of slowness."""

    async def one(question: str) -> Reader:
        reader = await read(running.urls[0], agent, question, cache="off")
        await reader.over
        return reader

    questions = [f"What is Atlas, number {number}?" for number in range(scale.readers)]
    calls = [lambda question=question: one(question) for question in [LARGE, *questions]]
    answers = await at_once(ASKED_AT_ONCE, calls)
    failed = sum(each.ended != "done" for each in answers)
    if failed:
        raise RuntimeError(f"{failed} usual answers failed.")


async def _slow(running: Deployment, agent: int, large: Reader, scale: Scale) -> list[SlowReader]:
    url = running.urls[0]
    attaching = (
        f"GET /api/runs/{large.events()[0]['run_id']}/events HTTP/1.1\r\n"
        f"Host: {url.removeprefix('http://')}\r\n\r\n"
    ).encode()

    async def one(number: int) -> SlowReader:
        if number % 2:
            return await connect(url, attaching)
        question = f"What is Atlas, slow number {number}?"
        request = request_of(url, agent, question, connection="keep-alive", cache="off")
        return await connect(url, request)

    calls = [lambda number=number: one(number) for number in range(scale.readers)]
    return await at_once(ASKED_AT_ONCE, calls)


async def _timed(running: Deployment, agent: int, large: Reader, scale: Scale) -> list[list[float]]:
    """Times of a short request to the replica without slow readers, then to the other, once all
    answers are complete and there is nothing more to write to anybody."""
    await large.over
    while running.provider.open:  # noqa: ASYNC110 — nobody tells
        await asyncio.sleep(0.1)
    path = f"/api/agents/{agent}"
    requests = [Request(f"{url}{path}") for url in reversed(running.urls)]
    return await times(requests, scale.timed_seconds)


def _dropped(slow: Sequence[SlowReader]) -> list[tuple[str, float]]:
    seconds = [each.dropped - each.since for each in slow if each.dropped and each.since]
    return [
        ("slow readers that were not dropped", len(slow) - len(seconds)),
        ("seconds until the first was dropped", min(seconds, default=math.inf)),
        ("seconds until the last was dropped", max(seconds, default=math.inf)),
    ]


def _remembered(memory: Memory) -> list[tuple[str, float]]:
    return [
        ("MB more of the replica's memory", memory.most),
        ("MB more of the kernel's for connections", memory.kernel_most),
    ]


def _compared(measured: list[list[float]]) -> list[tuple[str, float]]:
    without, with_them = measured
    return [
        ("ms of a short request at p99, replica without them", 1000 * p99(without)),
        ("ms of a short request at p99, replica with them", 1000 * p99(with_them)),
        ("times as long at p99", p99(with_them) / p99(without)),
    ]


def _is_large(body: dict[str, Any]) -> bool:
    return bool(body["messages"][-1]["content"] == LARGE)


def kernel_mb() -> float:
    """What the kernel holds for TCP connections, both ends of all on this machine."""
    [line] = [
        each
        for each in Path("/proc/net/sockstat").read_text().splitlines()
        if each.startswith("TCP:")
    ]
    return int(line.split()[-1]) * PAGE_BYTES / 2**20


LIMITS = {
    "slow readers": at_least(READERS),
    "slow readers that were not dropped": at_most(0),
    "seconds until the first was dropped": at_least(DROPPED_SECONDS - 1),
    "seconds until the last was dropped": at_most(DROPPED_SECONDS + NOTICED_SECONDS),
    "MB more of the replica's memory": at_most(64),
    "times as long at p99": at_most(1.2),
    "others who did not get their whole answer": at_most(0),
    "calls of the model left open": at_most(0),
}
ROW = Row(
    11,
    "A slow reader hurts only himself",
    LIMITS,
    ("slow readers", "MB more of the replica's memory"),
    measure,
    seconds=60.0,
)
