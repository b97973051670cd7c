"""`citestream bench memory`: what a process of the API takes, idle and with a thousand streams.

The streams are opened one after the other and held at their first token until all are there; then
each gets a token every 100 ms. What is measured begins some seconds later. A token's delay is what
passes between it and the one before beyond the provider's 100 ms, seen in the clients' process; the
yardstick's (`app.bench.baseline`) is what the machine, the provider and the clients are to blame
for.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles

from app.bench.figures import Figure
from app.bench.installation import OURS, SHORT, THEIRS, Installation
from app.bench.processes import serving
from app.bench.workers import WorkerFailed

RSS_MB, READY_SECONDS = 150, 1.5
STREAM_KB, DELAY_MS, CPU_TIMES = 64, 100, 1.5
PACE_MS = 100
# Longer than it takes to open a thousand streams on a busy machine: the deadlines of a token are
# not what is measured. And one process, whatever a profile says.
VARIABLES = {
    "CITESTREAM_WORKERS": "1",
    "CITESTREAM_PROVIDER__BETWEEN_TOKENS_SECONDS": "600",
    "CITESTREAM_PROVIDER__TOTAL_SECONDS": "1200",
}


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked."""

    questions: int = 100
    clients: int = 8
    streams: int = 1000
    opening: int = 16
    settle_seconds: float = 3.0
    watch_seconds: float = 10.0

    @property
    def tokens(self) -> int:
        """Of each stream: for twice the time that it is listened to."""
        return int((self.settle_seconds + self.watch_seconds) * 1000 / PACE_MS) * 2


@dataclass(frozen=True, slots=True)
class Streams:
    """Many open streams of one program."""

    kilobytes: float  # of memory, for each
    delay_ms: float  # of a token, p99
    token_us: float  # of the processor, for each token
    rate: float  # tokens a second


async def bench_memory(
    running: Installation, say: Callable[[str], None], rounds: int, load: Load
) -> list[Figure]:
    """On an installation with VARIABLES. Raises WorkerFailed."""
    figures = await _starts(running, rounds)
    for name in (THEIRS, OURS):
        requests = await running.requests(name, running.questions(load.questions), SHORT)
        await running.ask(name, requests, load.clients)
    used = [running.programs[name].resident_bytes() / 1e6 for name in (OURS, THEIRS)]
    name = f"memory behind {load.questions} questions"
    figures += [
        Figure(f"{name}, {THEIRS} with the encoder's model", "MB", [used[1]], yardstick=True),
        Figure(f"{name}, an API process", "MB", [used[0]], RSS_MB),
    ]
    seen: dict[str, Streams] = {}
    for name in (THEIRS, OURS):
        seen[name] = await _streams(running, name, load)
        say(f"{load.streams} streams, {name}: {seen[name]}")
    return figures + _of_streams(seen[OURS], seen[THEIRS], load)


def _of_streams(ours: Streams, theirs: Streams, load: Load) -> list[Figure]:
    name = f"{load.streams:,} streams of a token each {PACE_MS} ms"
    return [
        Figure(f"{name}: memory a stream, {THEIRS}", "KB", [theirs.kilobytes], yardstick=True),
        Figure(f"{name}: memory a stream, {OURS}", "KB", [ours.kilobytes], STREAM_KB),
        Figure(f"{name}: a token's delay, p99, {THEIRS}", "ms", [theirs.delay_ms], yardstick=True),
        Figure(f"{name}: a token's delay, p99, {OURS}", "ms", [ours.delay_ms], DELAY_MS),
        Figure(f"{name}: tokens, {THEIRS}", "/s", [theirs.rate], yardstick=True),
        Figure(f"{name}: tokens, {OURS}", "/s", [ours.rate]),
        Figure(f"{name}: processor a token, {THEIRS}", "µs", [theirs.token_us], yardstick=True),
        Figure(f"{name}: processor a token, {OURS}", "µs", [ours.token_us]),
        Figure("  ours / baseline", "×", [ours.token_us / theirs.token_us], CPU_TIMES),
    ]


async def _starts(running: Installation, rounds: int) -> list[Figure]:
    """Another process like ours, from its start to its line that says it is ready."""
    seconds, processor, megabytes = [], [], []
    for number in range(rounds):
        began = time.perf_counter()
        log = running.folder / f"start-{number}.log"
        async with serving(running.site.environment, log) as program:
            seconds.append(time.perf_counter() - began)
            processor.append(program.cpu_seconds())
            megabytes.append(program.resident_bytes() / 1e6)
    return [
        Figure("an API process: start to ready", "s", seconds, READY_SECONDS),
        Figure("  processor until then", "s", processor),
        Figure("an API process that is ready: memory", "MB", megabytes, RSS_MB),
    ]


async def _streams(running: Installation, name: str, load: Load) -> Streams:
    program = running.programs[name]
    model = f"held-0-{PACE_MS}-{load.tokens}"
    before = program.resident_bytes()
    await running.open(name, load.streams, load.opening, model)
    await running.provider.ask({"release": True})
    await asyncio.sleep(load.settle_seconds)
    processor, began = program.cpu_seconds(), time.perf_counter()
    watched = await running.clients.ask({"do": "watch", "seconds": load.watch_seconds})
    processor, seconds = program.cpu_seconds() - processor, time.perf_counter() - began
    grown = program.resident_bytes() - before
    await running.clients.ask({"do": "close"})
    if watched["ended"] or not watched["gaps"]:
        raise WorkerFailed(f"{name}: {watched['ended']} of {load.streams} streams ended early.")
    return Streams(
        kilobytes=grown / 1024 / load.streams,
        delay_ms=quantiles(watched["gaps"], n=100)[98] * 1000 - PACE_MS,
        token_us=processor / watched["tokens"] * 1e6,
        rate=watched["tokens"] / seconds,
    )
