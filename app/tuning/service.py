"""What suits the API: how many processes, with how many connections each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.bench.installation import Installation
from app.bench.processes import serving
from app.tuning.findings import (
    Finding,
    most_connections,
    smallest_as_good,
    told,
    was_compared,
)
from app.tuning.patience import Patience

MAX_WORKERS = 16
# Of the embedded Postgres, as of any that nobody has set up.
CONNECTIONS = 100
# To start one and to measure it.
EACH_SECONDS = 15.0
NAME = "tuned"


@dataclass(frozen=True, slots=True)
class Load:
    """What is tried, and how much is asked for it."""

    clients: int = 16
    questions: int = 160
    warm: int = 48
    turns: int = 2
    pools: Sequence[int] = (5, 10, 20)


async def tune_service(
    installed: Installation,
    cores: int,
    patience: Patience,
    say: Callable[[str], None],
    note: Callable[[Finding], None],
    load: Load = Load(),
) -> None:
    """`note` takes what is found; nothing of what there was no time left for."""
    most = min(cores, MAX_WORKERS)
    numbers = list(dict.fromkeys((1, max(1, most // 2), most)))
    by_workers: dict[int, float] = {}
    for number in numbers:
        if not patience.has(EACH_SECONDS):
            break
        by_workers[number] = await _answers(installed, load, number)
        say(f"  {number} workers: {by_workers[number]:.0f} new answers/s")
    workers = 1
    if was_compared(by_workers, numbers):
        workers = smallest_as_good(by_workers)
        why = (
            f"New questions answered by workers, {load.clients} clients: {told(by_workers, '/s')}."
        )
        note(Finding("", "workers", workers, why))
    room = most_connections(CONNECTIONS, workers)
    sizes = list(dict.fromkeys(min(each, room) for each in load.pools))
    by_size: dict[int, float] = {}
    for size in sizes:
        if not patience.has(EACH_SECONDS):
            break
        by_size[size] = await _answers(installed, load, workers, size)
        say(f"  pools of {size} connections: {by_size[size]:.0f} new answers/s")
    if was_compared(by_size, sizes):
        why = (
            f"New questions answered by connections of each worker, {load.clients} clients: "
            f"{told(by_size, '/s')}. Postgres has {CONNECTIONS} for all."
        )
        note(Finding("database", "pool_size", smallest_as_good(by_size), why))


async def _answers(
    installed: Installation, load: Load, workers: int, pool_size: int | None = None
) -> float:
    """Answers a second of a service like the installation's, but so set up: of its best turn, as
    whatever else the machine does makes it only slower."""
    environment = {**installed.site.environment, "CITESTREAM_WORKERS": str(workers)}
    if pool_size is not None:
        environment["CITESTREAM_DATABASE__POOL_SIZE"] = str(pool_size)
    async with serving(environment, installed.folder / "tuned.log") as program:
        installed.programs[NAME] = program
        try:
            await _ask(installed, load.warm, load.clients)
            turns = [await _ask(installed, load.questions, load.clients) for _ in range(load.turns)]
        finally:
            del installed.programs[NAME]
    return max(turns)


async def _ask(installed: Installation, count: int, clients: int) -> float:
    requests = await installed.requests(NAME, installed.questions(count), whole=True)
    heard = await installed.ask(NAME, requests, clients)
    return count / float(heard["seconds"])
