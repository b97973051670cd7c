"""Every source at once, with delays in the place of the work: the slowest costs, never the sum."""

import asyncio
import time
from collections.abc import Sequence

from structlog.testing import capture_logs

from app.bench.figures import Figure
from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.retrieval.collect import Collector
from app.retrieval.ports import Hit, Source

DELAYS_MS = (300, 200, 200, 150, 50)
LIMIT_MS = 375  # 1.25 times the slowest
OF_THE_SUM = 0.42
DEADLINE_MS = 400
# What a source may take beyond its deadline: it is told to stop, and has a moment for that.
STOPPING_MS = 75
HANGS = 3600.0


class Delayed:
    """A source that finds nothing, after a while."""

    def __init__(self, number: int, seconds: float) -> None:
        self.name = f"source {number}"
        self._seconds = seconds

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        await asyncio.sleep(self._seconds)
        return ()


async def side_by_side(rounds: int) -> list[Figure]:
    """What all of them cost together, and beside one that hangs."""
    sources: list[Source] = [Delayed(n, ms / 1000) for n, ms in enumerate(DELAYS_MS)]
    hanging = [*sources, Delayed(len(sources), HANGS)]
    together, alone = list[float](), list[float]()
    for _ in range(rounds):
        together.append(await _milliseconds(sources))
        alone.append(sum([await _milliseconds([each]) for each in sources]))
    with capture_logs():  # that a source hangs is no news here
        beside = [await _milliseconds(hanging) for _ in range(rounds)]
    names = ", ".join(map(str, DELAYS_MS))
    return [
        Figure(f"sources of {names} ms side by side", "ms", together, LIMIT_MS),
        Figure(
            "  side by side / one after another",
            "×",
            [some / each for some, each in zip(together, alone, strict=True)],
            OF_THE_SUM,
        ),
        Figure(
            f"the same and one that hangs, with a deadline of {DEADLINE_MS} ms",
            "ms",
            beside,
            DEADLINE_MS + STOPPING_MS,
        ),
    ]


async def _milliseconds(sources: Sequence[Source]) -> float:
    collector = Collector(DEADLINE_MS / 1000, time.perf_counter)
    started = time.perf_counter()
    await collector.collect(sources, Scope(1), RetrievalRequest("question", 1, 10, "en"))
    return (time.perf_counter() - started) * 1000
