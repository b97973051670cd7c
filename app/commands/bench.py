"""`citestream bench`: figures of this machine, beside what must be reached."""

import asyncio
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import orjson

from app.bench.encoder import bench_encoder
from app.bench.figures import Figure


async def run_encoder_bench(rounds: int, output: Path | None, say: Callable[[str], None]) -> bool:
    """Measure, print and, where a file is named, write it. True where every limit is kept."""
    with tempfile.TemporaryDirectory(prefix="citestream-bench-") as folder:
        figures = await bench_encoder(rounds, Path(folder), say)
    say(f"\nmedian of {rounds} rounds (least to most), {_machine()}")
    for figure in figures:
        say(figure.line())
    if output is not None:
        await asyncio.to_thread(output.write_bytes, _results(rounds, figures))
    return all(figure.reached is not False for figure in figures)


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _results(rounds: int, figures: list[Figure]) -> bytes:
    fields = {
        "bench": "encoder",
        "machine": _machine(),
        "rounds": rounds,
        "figures": [figure.fields() for figure in figures],
    }
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2)
