"""`citestream bench sync-vs-async`: many questions side by side, beside one after another.

The provider thinks for 200 ms before its first token, so an answer is mostly waiting; what is left
of the ratio is how much of the machine a question takes. The yardstick (`app.bench.baseline`) shows
what the machine allows: encoding alone is work that nobody waits away.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from app.bench.figures import Figure
from app.bench.installation import OURS, THEIRS, Installation

TIMES = 20.0


@dataclass(frozen=True, slots=True)
class Load:
    questions: int = 50
    first_token_ms: int = 200
    tokens: int = 64

    @property
    def model(self) -> str:
        return f"paced-{self.first_token_ms}-0-{self.tokens}"


async def bench_sync_vs_async(
    running: Installation, say: Callable[[str], None], rounds: int, load: Load
) -> list[Figure]:
    """Raises WorkerFailed."""
    wrong = running.wrong
    measured: dict[tuple[str, int], list[float]] = {}
    for name in (OURS, THEIRS):  # everything is warm, and as many connections are there
        await _seconds(running, name, load, load.questions)
    for number in range(1, rounds + 1):
        for name in random.sample([OURS, THEIRS], 2):
            for clients in random.sample([1, load.questions], 2):
                seconds = await _seconds(running, name, load, clients)
                measured.setdefault((name, clients), []).append(seconds)
        told = ", ".join(
            f"{name} {many} at once {values[-1]:.2f} s" for (name, many), values in measured.items()
        )
        say(f"round {number} of {rounds}: {told}")
    return [
        *_figures(measured, load),
        Figure("answers that were cached", "", [running.wrong - wrong], 0),
    ]


def _figures(measured: dict[tuple[str, int], list[float]], load: Load) -> list[Figure]:
    made = []
    name = f"{load.questions} questions, the provider at {load.first_token_ms} ms"
    for program in (THEIRS, OURS):
        alone, together = measured[program, 1], measured[program, load.questions]
        ratios = [one / many for one, many in zip(alone, together, strict=True)]
        theirs = program == THEIRS
        made += [
            Figure(f"{name}: one after another, {program}", "s", alone, yardstick=theirs),
            Figure(f"{name}: side by side, {program}", "s", together, yardstick=theirs),
            Figure(
                f"{name}: times as fast side by side, {program}",
                "×",
                ratios,
                None if theirs else TIMES,
                "higher",
                yardstick=theirs,
            ),
        ]
    return made


async def _seconds(running: Installation, name: str, load: Load, clients: int) -> float:
    """From the first request to the last answer's end."""
    messages = running.questions(load.questions)
    whole = name == OURS
    requests = await running.requests(name, messages, load.model, whole=whole)
    return float((await running.ask(name, requests, clients))["seconds"])
