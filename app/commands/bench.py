"""`citestream bench`: figures of this machine, beside what must be reached."""

import asyncio
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import orjson

from app.bench.cache import bench_cache
from app.bench.encoder import bench_encoder
from app.bench.figures import Figure
from app.bench.retrieval import ROUNDS, bench_retrieval
from app.bench.stream import bench_stream


async def run_encoder_bench(rounds: int, output: Path | None, say: Callable[[str], None]) -> bool:
    """Measure, print and, where a file is named, write it. True where every limit is kept."""
    with tempfile.TemporaryDirectory(prefix="citestream-bench-") as folder:
        figures = await bench_encoder(rounds, Path(folder), say)
    return await _told("encoder", rounds, figures, output, say)


async def run_retrieval_bench(chunks: int, output: Path | None, say: Callable[[str], None]) -> bool:
    """As `run_encoder_bench`, on a Postgres of its own with so many chunks."""
    with tempfile.TemporaryDirectory(prefix="citestream-bench-") as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o711)  # for the system user of root's Postgres
        figures = await bench_retrieval(chunks, Path(folder) / "data", say)
    return await _told("retrieval", ROUNDS, figures, output, say)


async def run_cache_bench(rounds: int, output: Path | None, say: Callable[[str], None]) -> bool:
    """As `run_encoder_bench`, on servers of its own."""
    with tempfile.TemporaryDirectory(prefix="citestream-bench-") as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o711)  # for the system user of root's Postgres
        figures = await bench_cache(rounds, Path(folder), say)
    return await _told("cache", rounds, figures, output, say)


async def run_stream_bench(rounds: int, output: Path | None, say: Callable[[str], None]) -> bool:
    """As `run_encoder_bench`."""
    return await _told("stream", rounds, await bench_stream(rounds, say), output, say)


async def _told(
    name: str,
    rounds: int,
    figures: list[Figure],
    output: Path | None,
    say: Callable[[str], None],
) -> bool:
    say(f"\nmedian of {rounds} rounds (least to most), {_machine()}")
    for figure in figures:
        say(figure.line())
    if output is not None:
        await asyncio.to_thread(output.write_bytes, _results(name, rounds, figures))
    return all(figure.reached is not False for figure in figures)


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _results(bench: str, rounds: int, figures: list[Figure]) -> bytes:
    fields = {
        "bench": bench,
        "machine": _machine(),
        "rounds": rounds,
        "figures": [figure.fields() for figure in figures],
    }
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2)
