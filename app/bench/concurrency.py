"""`citestream bench concurrency`: how many at once and how soon, beside the yardstick.

A `citestream serve` as it is shipped, asked with an API key, and `app.bench.baseline` answer the
same questions from the same chunks, in turns and in an order of chance, from the same provider,
Postgres and Redis. A ratio is made of one round's values, so a machine that is busy with something
else is so for both. Every question is a new one, but those of the cached answers.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, TypeAlias

from app.bench.figures import Figure
from app.bench.installation import OURS, SHORT, THEIRS, Installation

HELD = "held-0-0-{tokens}"  # answers of usual length
TURN = 10  # questions of one client before the other program's turn
FIRST_TIMES, RATE_SHARE, CACHED_TIMES, CACHED_RATE = 1.5, 0.6, 4.0, 1500
RELAYED_SHARE, TOKEN_US = 0.35, 22.0
# By what was measured and of which program.
Values: TypeAlias = dict[tuple[str, str], float]
FIRST, WHOLE, RELAYED, TOKEN_CPU = "first token", "answers", "relayed", "token's CPU"
CACHED, CACHED_WHOLE, CACHED_MANY = "cached", "cached, whole", "cached answers"
WHOLE_CPU, CACHED_CPU = "an answer's CPU", "a cached answer's CPU"


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked in each round."""

    lone: int = 40
    first: int = 160
    first_clients: int = 8
    whole: int = 240
    whole_clients: int = 16
    streams: int = 64
    tokens: int = 256
    cached: int = 300
    cached_distinct: int = 20
    cached_many: int = 3000
    cached_clients: int = 32


@dataclass(slots=True)
class Measured:
    """The values of each round."""

    rounds: list[Values] = field(default_factory=list)
    wrong: int = 0

    def of(self, what: str, name: str) -> list[float]:
        return [each[what, name] for each in self.rounds]

    def ratio(self, what: str, beside: str | None = None) -> list[float]:
        """Ours to the yardstick's."""
        pairs = zip(self.of(what, OURS), self.of(beside or what, THEIRS), strict=True)
        return [ours / theirs for ours, theirs in pairs]


async def bench_concurrency(
    running: Installation, say: Callable[[str], None], rounds: int, load: Load
) -> list[Figure]:
    """Raises WorkerFailed."""
    wrong, measured = running.wrong, Measured()
    for number in range(rounds + 1):
        values = await _round(running, load)
        if number:  # the first warms everything up
            measured.rounds.append(values)
            told = ", ".join(
                f"{what} {values[what, OURS]:.3g} ({values[what, THEIRS]:.3g})"
                for what in (f"{FIRST} 1", f"{FIRST} {load.first_clients}", WHOLE, RELAYED, CACHED)
            )
            say(f"round {number} of {rounds}, ours ({THEIRS}): {told}")
    measured.wrong = running.wrong - wrong
    return figures(measured, load)


def figures(measured: Measured, load: Load) -> list[Figure]:
    made: list[Figure] = []
    for clients in (1, load.first_clients):
        what = f"{FIRST} {clients}"
        made += _both(measured, f"first token, {clients} at once: p50", what, "ms")
        made.append(Figure("  ours / baseline", "×", measured.ratio(what), FIRST_TIMES))
    many = f"{load.whole_clients} at once"
    made += _both(measured, f"whole answers, {many}", WHOLE, "/s")
    made.append(Figure("  ours / baseline", "×", measured.ratio(WHOLE), RATE_SHARE, "higher"))
    made += _both(measured, "  processor an answer", WHOLE_CPU, "ms")
    streams = f"{load.streams} streams × {load.tokens}"
    made += _both(measured, f"relayed tokens, {streams}", RELAYED, "/s")
    made += [
        Figure("  ours / baseline", "×", measured.ratio(RELAYED), RELAYED_SHARE, "higher"),
        *_both(measured, "  processor a token", TOKEN_CPU, "µs", TOKEN_US),
        *_both(measured, "cached answer, streamed: p50", CACHED, "ms"),
        Figure("  ours / baseline", "×", measured.ratio(CACHED), CACHED_TIMES),
        Figure("  the same answered whole", "ms", measured.of(CACHED_WHOLE, OURS)),
        Figure("  whole / baseline", "×", measured.ratio(CACHED_WHOLE, CACHED), CACHED_TIMES),
    ]
    many = f"cached answers, {load.cached_clients} at once"
    return [
        *made,
        *_both(measured, many, CACHED_MANY, "/s", CACHED_RATE, "higher"),
        *_both(measured, "  processor an answer", CACHED_CPU, "ms"),
        Figure("answers that were cached and should not be, or were not", "", [measured.wrong], 0),
    ]


def _both(
    measured: Measured,
    name: str,
    what: str,
    unit: str,
    limit: float | None = None,
    better: Literal["higher", "lower"] = "lower",
) -> list[Figure]:
    """The yardstick's, and ours with its limit."""
    return [
        Figure(f"{name}, {THEIRS}", unit, measured.of(what, THEIRS), yardstick=True),
        Figure(f"{name}, {OURS}", unit, measured.of(what, OURS), limit, better),
    ]


async def _round(running: Installation, load: Load) -> Values:
    values: Values = {}
    await _lone(running, load, values)
    for measure_one in (_first, _whole, _relayed, _cached):
        for name in _shuffled():
            await measure_one(running, name, load, values)
    return values


async def _lone(running: Installation, load: Load, values: Values) -> None:
    """One client, with the programs in short turns: what is compared is milliseconds."""
    times: dict[str, list[float]] = {OURS: [], THEIRS: []}
    for _ in range(load.lone // TURN):
        for name in _shuffled():
            requests = await running.requests(name, running.questions(TURN), SHORT)
            times[name] += (await running.ask(name, requests, 1))["first"]
    for name, each in times.items():
        values[f"{FIRST} 1", name] = median(each) * 1000


async def _first(running: Installation, name: str, load: Load, values: Values) -> None:
    requests = await running.requests(name, running.questions(load.first), SHORT)
    heard = await running.ask(name, requests, load.first_clients)
    values[f"{FIRST} {load.first_clients}", name] = median(heard["first"]) * 1000


async def _whole(running: Installation, name: str, load: Load, values: Values) -> None:
    requests = await running.requests(name, running.questions(load.whole), SHORT)
    processor = running.programs[name].cpu_seconds()
    heard = await running.ask(name, requests, load.whole_clients)
    processor = running.programs[name].cpu_seconds() - processor
    values[WHOLE, name] = load.whole / heard["seconds"]
    values[WHOLE_CPU, name] = processor / load.whole * 1000


async def _relayed(running: Installation, name: str, load: Load, values: Values) -> None:
    """From the moment that all streams have their first token, so that nothing but tokens and the
    streams' ends is measured."""
    program, clock = running.programs[name], asyncio.get_running_loop().time
    model = HELD.format(tokens=load.tokens)
    requests = await running.requests(name, running.questions(load.streams), model)
    asking = asyncio.create_task(running.ask(name, requests, load.streams))
    await running.provider.ask({"held": load.streams})
    processor, began = program.cpu_seconds(), clock()
    await running.provider.ask({"release": True})
    await asking
    seconds, tokens = clock() - began, load.streams * (load.tokens - 1)
    values[RELAYED, name] = tokens / seconds
    values[TOKEN_CPU, name] = (program.cpu_seconds() - processor) / tokens * 1e6


async def _cached(running: Installation, name: str, load: Load, values: Values) -> None:
    messages = running.questions(load.cached_distinct)
    requests = await running.requests(name, messages, SHORT)
    await running.ask(name, requests, 1)
    kinds = {CACHED: requests}
    if name == OURS:
        kinds[CACHED_WHOLE] = await running.requests(name, messages, SHORT, whole=True)
    for what, some in kinds.items():
        repeated = _repeated(some, load.cached)
        heard = await running.ask(name, repeated, 1, cached=True)
        values[what, name] = median(heard["whole"]) * 1000
    some = _repeated(kinds.get(CACHED_WHOLE, requests), load.cached_many)
    processor = running.programs[name].cpu_seconds()
    heard = await running.ask(name, some, load.cached_clients, cached=True)
    processor = running.programs[name].cpu_seconds() - processor
    values[CACHED_MANY, name] = load.cached_many / heard["seconds"]
    values[CACHED_CPU, name] = processor / load.cached_many * 1000


def _repeated(requests: list[str], number: int) -> list[str]:
    return [requests[place % len(requests)] for place in range(number)]


def _shuffled() -> list[str]:
    return random.sample([OURS, THEIRS], 2)
