"""How many of a usual day's questions are found in the caches: few are asked often, many once.

The n-th most frequent question is asked n^-s as often as the first (Zipf, "Human Behavior and the
Principle of Least Effort", 1949; for requests to caches: Breslau et al., "Web caching and Zipf-like
distributions", INFOCOM 1999). A cache without end finds every question but the first of its kind.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.bench.figures import Figure
from app.bench.installation import OURS, Installation

SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Workload:
    questions: int = 10_000
    distinct: int = 5_000
    s: float = 1.1
    clients: int = 8

    def drawn(self) -> list[int]:
        """The number of each question, the same ones every time."""
        weights = np.arange(1, self.distinct + 1, dtype=float) ** -self.s
        shares = weights / weights.sum()
        drawn = np.random.default_rng(11).choice(self.distinct, self.questions, p=shares)
        return [int(number) for number in drawn]


async def bench_zipf(
    running: Installation, workload: Workload, say: Callable[[str], None]
) -> list[Figure]:
    """Raises WorkerFailed."""
    drawn, distinct = workload.drawn(), running.questions(workload.distinct)
    prepared = await running.requests(OURS, distinct, whole=True)
    task = {
        "do": "ask",
        "port": running.programs[OURS].port,
        "requests": [prepared[number] for number in drawn],
        "clients": workload.clients,
        "mark": '"cached":true',
    }
    heard = await running.clients.ask(task)
    possible = len(drawn) - len(set(drawn))
    name = f"{len(drawn):,} questions, {workload.distinct:,} distinct, Zipf {workload.s}"
    say(f"{name}: {heard['marked']:,} found, {possible:,} at most, {heard['seconds']:.0f} s")
    return [
        Figure(f"{name}: found", "%", [100 * heard["marked"] / len(drawn)], better="higher"),
        Figure(
            "  of what a cache without end finds",
            "×",
            [heard["marked"] / possible],
            SHARE,
            "higher",
        ),
    ]
