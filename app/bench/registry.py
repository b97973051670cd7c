"""The benches that `citestream bench` knows: what each measures, needs and takes.

Light to import: each bench's own module is imported when it runs. Another one is a function here
and a line in `_ALL`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from app.bench.figures import Figure
    from app.bench.installation import Installation

ALL = "all"
# Of the corpus of `retrieval`, and of the large portfolio of `scale`.
CHUNKS, SCALE_CHUNKS = 300_000, 100_000
WIDTH = 78  # of a line of the help
FEW_CHUNKS = 1_000  # where their number is not what is measured
SERVERS, MODEL = "the embedded servers", "the encoder's model"
BOTH = (SERVERS, MODEL)


@dataclass(frozen=True, slots=True)
class Task:
    """What a bench is asked to do. `folder` is its own; `profile` has the settings, by section,
    that what is measured gets in the place of those it is shipped with, `variables` the same for
    the environment of a process, and `encoder` the command that starts the encoder so. `chunks` is
    None where each bench has as many as it has of its own."""

    folder: Path
    say: Callable[[str], None]
    rounds: int
    chunks: int | None = None
    profile: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    encoder: Sequence[str] = ()

    def setting(self, section: str, name: str, default: int) -> int:
        """One number of the profile."""
        return int(self.profile.get(section, {}).get(name, default))


Run: TypeAlias = Callable[[Task], Awaitable[list["Figure"]]]


@dataclass(frozen=True, slots=True)
class Bench:
    """`minutes` are those of its own number of rounds on two cores with little else to do."""

    name: str
    measures: str
    needs: tuple[str, ...]
    minutes: float
    run: Run
    rounds: int = 5
    takes_profile: bool = True


def _installed(task: Task, **options: Any) -> AbstractAsyncContextManager["Installation"]:
    """What answers are measured with, as the task's profile has it."""
    from app.bench.installation import installation

    variables = {**task.variables, **options.pop("variables", {})}
    encoder = task.encoder or None
    return installation(task.folder, task.say, variables=variables, encoder=encoder, **options)


async def _auth(task: Task) -> list["Figure"]:
    from app.bench.auth import VARIABLES, Load, bench_auth

    async with _installed(task, chunks=FEW_CHUNKS, yardstick=False, variables=VARIABLES) as running:
        return await bench_auth(running, task.say, task.rounds, Load())


async def _cache(task: Task) -> list["Figure"]:
    from app.bench.cache import Load, bench_cache

    async with _installed(task, chunks=FEW_CHUNKS, yardstick=False) as running:
        return await bench_cache(running, task.say, task.rounds, Load())


async def _concurrency(task: Task) -> list["Figure"]:
    from app.bench.concurrency import Load, bench_concurrency

    async with _installed(task) as running:
        return await bench_concurrency(running, task.say, task.rounds, Load())


async def _encoder(task: Task) -> list["Figure"]:
    from app.bench.encoder import bench_encoder

    return await bench_encoder(task.rounds, task.folder, task.say)


async def _memory(task: Task) -> list["Figure"]:
    from app.bench.memory import VARIABLES, Load, bench_memory

    async with _installed(task, variables=VARIABLES) as running:
        return await bench_memory(running, task.say, task.rounds, Load())


async def _monitor(task: Task) -> list["Figure"]:
    from app.bench.monitor import bench_monitor

    return await bench_monitor(task.rounds, task.say)


async def _pool(task: Task) -> list["Figure"]:
    from app.bench.pool import VARIABLES, Load, bench_pool

    async with _installed(task, chunks=FEW_CHUNKS, yardstick=False, variables=VARIABLES) as running:
        return await bench_pool(running, task.say, task.rounds, Load())


async def _retrieval(task: Task) -> list["Figure"]:
    from app.bench.retrieval import EF_SEARCH, EXACT_BELOW, bench_retrieval

    return await bench_retrieval(
        task.chunks or CHUNKS,
        task.folder / "data",
        task.say,
        task.rounds,
        exact_below=task.setting("retrieval", "exact_below_chunks", EXACT_BELOW),
        ef_search=task.setting("retrieval", "hnsw_ef_search", EF_SEARCH),
    )


async def _scale(task: Task) -> list["Figure"]:
    from app.bench.scale import Load, bench_scale

    load = Load(chunks=task.chunks or SCALE_CHUNKS)
    async with _installed(task, chunks=load.few_chunks, yardstick=False) as running:
        return await bench_scale(running, task.say, task.rounds, load)


async def _stream(task: Task) -> list["Figure"]:
    from app.bench.stream import bench_stream

    return await bench_stream(task.rounds, task.say)


async def _sync_vs_async(task: Task) -> list["Figure"]:
    from app.bench.sync_vs_async import Load, bench_sync_vs_async

    async with _installed(task, chunks=FEW_CHUNKS) as running:
        return await bench_sync_vs_async(running, task.say, task.rounds, Load())


async def _tiers(task: Task) -> list["Figure"]:
    from app.bench.tiers import Load, bench_tiers

    async with _installed(task, yardstick=False) as running:
        return await bench_tiers(running, task.say, task.rounds, Load())


# The quick ones first: whoever watches sees figures soon.
_ALL = (
    Bench("monitor", "what measuring itself costs", (), 0.3, _monitor, takes_profile=False),
    Bench(
        "stream",
        "one run's tokens to 500 readers, beside bare sockets",
        (),
        1,
        _stream,
        takes_profile=False,
    ),
    Bench("cache", "cached answers beside a bare route, and their hits", BOTH, 2, _cache),
    Bench("auth", "what recognising the caller adds to a request", BOTH, 1.5, _auth),
    Bench("pool", "connections used again, and under open streams", BOTH, 1, _pool, rounds=3),
    Bench(
        "sync-vs-async",
        "50 questions side by side and one after another",
        BOTH,
        2,
        _sync_vs_async,
        rounds=3,
    ),
    Bench(
        "concurrency",
        "first token, answers and tokens/s, beside the yardstick",
        BOTH,
        4,
        _concurrency,
        rounds=3,
    ),
    Bench("tiers", "what each tier's processor does for an answer", BOTH, 2, _tiers, rounds=3),
    Bench("memory", "an API process, idle and with 1,000 open streams", BOTH, 3, _memory, rounds=3),
    Bench(
        "encoder",
        "the encoder service, beside its model alone",
        (MODEL,),
        4,
        _encoder,
        takes_profile=False,
    ),
    Bench(
        "retrieval", "vector search at every size, beside a bare query", (SERVERS,), 8, _retrieval
    ),
    Bench("scale", "first token with more of everything", BOTH, 12, _scale),
)
BENCHES: Mapping[str, Bench] = {bench.name: bench for bench in _ALL}


def chosen(names: Sequence[str]) -> list[Bench]:
    """The benches of these names, each once, in the order given; `all` is every one of them.
    Raises KeyError for a name that is none."""
    if ALL in names:
        names = [*BENCHES]
    return [BENCHES[name] for name in dict.fromkeys(names)]


def listed() -> str:
    """A line for each bench, and one for what some of them need, for the help."""
    lines = [f"{each.name:<13} {told(each.minutes):>7}  {each.measures}" for each in _ALL]
    lines.append(f"{ALL:<13} {told(sum(each.minutes for each in _ALL)):>7}  every one of them")
    for need in (SERVERS, MODEL):
        names = ", ".join(each.name for each in _ALL if need in each.needs)
        lines += ["", *wrap(f"Need {need}: {names}", WIDTH)]
    return "\n".join(lines)


def told(minutes: float) -> str:
    """How long something takes, as one would say it."""
    return f"{minutes:.0f} min" if minutes >= 1 else f"{minutes * 60:.0f} s"
