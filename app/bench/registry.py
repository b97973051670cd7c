"""The benches that `citestream bench` knows: what each measures, needs and takes.

Light to import: each bench's own module is imported when it runs. Another one is a function here
and a line in `_ALL`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from app.bench.figures import Figure

ALL = "all"
# Of the corpus of `retrieval`; fewer give a quick look.
CHUNKS = 300_000
SERVERS, MODEL = "the embedded servers", "the encoder's model"


@dataclass(frozen=True, slots=True)
class Task:
    """What a bench is asked to do. `folder` is its own; `profile` has the settings, by section,
    that what is measured gets in the place of those it is shipped with, and `variables` the same
    for the environment of a process."""

    folder: Path
    say: Callable[[str], None]
    rounds: int
    chunks: int = CHUNKS
    profile: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

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
    takes_profile: bool = False


async def _cache(task: Task) -> list["Figure"]:
    from app.bench.cache import bench_cache

    return await bench_cache(task.rounds, task.folder, task.say)


async def _concurrency(task: Task) -> list["Figure"]:
    from app.bench.concurrency import bench_concurrency

    return await bench_concurrency(task.folder, task.say, task.rounds)


async def _encoder(task: Task) -> list["Figure"]:
    from app.bench.encoder import bench_encoder

    return await bench_encoder(task.rounds, task.folder, task.say)


async def _memory(task: Task) -> list["Figure"]:
    from app.bench.memory import bench_memory

    return await bench_memory(task.folder, task.say, task.rounds)


async def _monitor(task: Task) -> list["Figure"]:
    from app.bench.monitor import bench_monitor

    return await bench_monitor(task.rounds, task.say)


async def _retrieval(task: Task) -> list["Figure"]:
    from app.bench.retrieval import EF_SEARCH, EXACT_BELOW, bench_retrieval

    return await bench_retrieval(
        task.chunks,
        task.folder / "data",
        task.say,
        task.rounds,
        exact_below=task.setting("retrieval", "exact_below_chunks", EXACT_BELOW),
        ef_search=task.setting("retrieval", "hnsw_ef_search", EF_SEARCH),
    )


async def _stream(task: Task) -> list["Figure"]:
    from app.bench.stream import bench_stream

    return await bench_stream(task.rounds, task.say)


# The quick ones first: whoever watches sees figures soon.
_ALL = (
    Bench("monitor", "what measuring itself costs", (), 0.3, _monitor),
    Bench("stream", "one run's tokens to 500 readers, beside bare sockets", (), 1, _stream),
    Bench("cache", "a cached answer over HTTP, beside a bare route", (SERVERS, MODEL), 1, _cache),
    Bench(
        "concurrency",
        "first token, answers and tokens/s, beside the yardstick",
        (SERVERS, MODEL),
        4,
        _concurrency,
        rounds=3,
    ),
    Bench(
        "memory",
        "an API process, idle and with 1,000 open streams",
        (SERVERS, MODEL),
        3,
        _memory,
        rounds=3,
    ),
    Bench("encoder", "the encoder service, beside its model alone", (MODEL,), 4, _encoder),
    Bench(
        "retrieval",
        "vector search at every size, beside a bare query",
        (SERVERS,),
        8,
        _retrieval,
        takes_profile=True,
    ),
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
    lines = [f"{each.name:<12} {told(each.minutes):>7}  {each.measures}" for each in _ALL]
    lines.append(f"{ALL:<12} {told(sum(each.minutes for each in _ALL)):>7}  every one of them")
    for need in (SERVERS, MODEL):
        names = ", ".join(each.name for each in _ALL if need in each.needs)
        lines += ["", f"Need {need}: {names}"]
    return "\n".join(lines)


def told(minutes: float) -> str:
    """How long something takes, as one would say it."""
    return f"{minutes:.0f} min" if minutes >= 1 else f"{minutes * 60:.0f} s"
