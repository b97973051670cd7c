"""`citestream bench tiers`: what each tier's processor does for an answer.

The service, Postgres, Redis and the encoder run as processes of this machine, so the system knows
what each of them took while questions were answered: `citestream simulate` reckons with it. New
questions are answered by a model that costs nothing and says 64 tokens, cached ones as whole
answers with their turns stored. What the provider and the clients took is no tier of a service,
but it is taken from the same cores, and told beside them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from app.bench.figures import Figure
from app.bench.installation import OURS, SHORT, Installation
from app.bench.processes import Program, cpu_seconds

WRONG = "answers that were cached and should not be, or were not"
NEW, CACHED = "new answers", "cached answers"
API, POSTGRES, REDIS, ENCODER = "API", "Postgres", "Redis", "encoder"
BESIDE = "the clients and the provider"
TIERS = (API, POSTGRES, REDIS, ENCODER, BESIDE)
# What stands in a process's command line, the first that does; the service is known by its number.
MARKS = {"/valkey-server": REDIS, "app.cli encoder": ENCODER, "/bin/postgres": POSTGRES}


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked in each round."""

    new: int = 240
    new_clients: int = 16
    cached: int = 3000
    cached_clients: int = 32
    cached_distinct: int = 20


@dataclass(frozen=True, slots=True)
class Told:
    """One round of a kind: answers a second, and each tier's milliseconds an answer."""

    rate: float
    processor_ms: Mapping[str, float]


async def bench_tiers(
    running: Installation, say: Callable[[str], None], rounds: int, load: Load
) -> list[Figure]:
    """Raises WorkerFailed."""
    wrong, told = running.wrong, {NEW: list[Told](), CACHED: list[Told]()}
    for number in range(rounds + 1):
        new, cached = await _new(running, load), await _cached(running, load)
        if number:  # the first warms everything up
            told[NEW].append(new)
            told[CACHED].append(cached)
            say(f"round {number} of {rounds}: {_line(NEW, new)}; {_line(CACHED, cached)}")
    return figures(told, load, running.wrong - wrong)


def figures(told: Mapping[str, Sequence[Told]], load: Load, wrong: int) -> list[Figure]:
    return [
        *_figures(f"{NEW}, {load.new_clients} at once", told[NEW]),
        *_figures(f"{CACHED}, {load.cached_clients} at once", told[CACHED]),
        Figure(WRONG, "", [wrong], 0),
    ]


def _figures(name: str, rounds: Sequence[Told]) -> list[Figure]:
    return [
        Figure(name, "/s", [each.rate for each in rounds]),
        *(
            Figure(f"  processor an answer, {tier}", "ms", [r.processor_ms[tier] for r in rounds])
            for tier in TIERS
        ),
    ]


def _line(name: str, told: Told) -> str:
    parts = ", ".join(f"{tier} {told.processor_ms[tier]:.3g} ms" for tier in TIERS)
    return f"{name} {told.rate:.3g}/s ({parts})"


async def _new(running: Installation, load: Load) -> Told:
    requests = await running.requests(OURS, running.questions(load.new), SHORT, whole=True)
    return await _measured(running, requests, load.new_clients, cached=False)


async def _cached(running: Installation, load: Load) -> Told:
    messages = running.questions(load.cached_distinct)
    requests = await running.requests(OURS, messages, SHORT, whole=True)
    await running.ask(OURS, requests, 1)
    repeated = [requests[place % len(requests)] for place in range(load.cached)]
    return await _measured(running, repeated, load.cached_clients, cached=True)


async def _measured(
    running: Installation, requests: list[str], clients: int, *, cached: bool
) -> Told:
    program = running.programs[OURS]
    before = processor_seconds(program)
    heard = await running.ask(OURS, requests, clients, cached=cached)
    after, answers = processor_seconds(program), len(requests)
    spent = {tier: (after[tier] - before[tier]) / answers * 1000 for tier in TIERS}
    return Told(answers / heard["seconds"], spent)


def processor_seconds(service: Program) -> Mapping[str, float]:
    """What each tier among this process's children has taken since it was started."""
    taken = dict.fromkeys(TIERS, 0.0) | {API: service.cpu_seconds()}
    for tier, process in _tiers(service):
        with suppress(OSError, psutil.Error):  # one of Postgres' that has just ended
            taken[tier] += cpu_seconds(process)
    return taken


def _tiers(service: Program) -> Iterator[tuple[str, psutil.Process]]:
    for child in psutil.Process().children():
        if child.pid == service.pid:
            continue
        words = " ".join(child.cmdline())
        tier = next((tier for mark, tier in MARKS.items() if mark in words), BESIDE)
        yield from ((tier, process) for process in (child, *child.children(recursive=True)))
