"""How much memory processes take together that all use one `SharedEmbeddingCache`.

Each is a fresh process (nothing is shared by forking), and says when it is ready and when it has
read every vector; its memory is what the kernel counts as its proportional share (PSS), so a page
that eight processes map counts once in their sum. Linux only.
"""

import multiprocessing
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

DIMENSION = 1024
BYTES_A_NUMBER = 4


@dataclass(frozen=True, slots=True)
class _Encoder:
    id: str = "bench@1"
    dimension: int = DIMENSION


@dataclass(frozen=True, slots=True)
class _Child:
    process: BaseProcess
    pipe: Connection

    def ask(self, question: str) -> None:
        self.pipe.send(question)

    def pss_bytes(self) -> int:
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        (line,) = (line for line in rollup.splitlines() if line.startswith("Pss:"))
        return int(line.split()[1]) * 1024

    def end(self) -> None:
        self.pipe.close()  # which is how it learns that it is to end
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def measure(processes: int = 8, megabytes: int = 200) -> dict[str, Any]:
    """Let all processes ask for the same missing vectors at once.

    `used_mb` is what their memory grew by together, from ready to having read all vectors, and
    `ratio` is that to `vectors_mb`; `computed` says how often the vectors were computed.
    Megabytes are of 10**6 bytes.
    """
    rows = megabytes * 10**6 // (DIMENSION * BYTES_A_NUMBER)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as started:
        children = [_start(folder, rows, started) for _ in range(processes)]
        _gather(children)
        before = sum(child.pss_bytes() for child in children)
        for child in children:
            child.ask("load")
        answers = _gather(children)
        after = sum(child.pss_bytes() for child in children)
    vectors = rows * DIMENSION * BYTES_A_NUMBER
    if len({answer["sum"] for answer in answers}) != 1:
        raise RuntimeError("The processes read different vectors.")
    return {
        "processes": processes,
        "vectors_mb": round(vectors / 10**6, 1),
        "before_mb": round(before / 10**6, 1),
        "after_mb": round(after / 10**6, 1),
        "used_mb": round((after - before) / 10**6, 1),
        "ratio": round((after - before) / vectors, 3),
        "computed": sum(answer["computed"] for answer in answers),
    }


def _start(folder: str, rows: int, started: ExitStack) -> _Child:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_run_child, args=(theirs, folder, rows), daemon=True)
    process.start()
    theirs.close()  # so that the end of the process ends the pipe
    child = _Child(process, ours)
    started.callback(child.end)
    return child


def _gather(children: Sequence[_Child]) -> list[dict[str, Any]]:
    try:
        return [child.pipe.recv() for child in children]
    except EOFError as error:
        raise RuntimeError("A measured process ended early.") from error


def _run_child(pipe: Connection, folder: str, rows: int) -> None:
    # Not above: importing this module must not load numpy.
    import numpy as np

    from app.encoder.shared_cache import SharedEmbeddingCache, Texts

    def compute(texts: Sequence[str]) -> Any:
        return np.random.default_rng(0).random((len(texts), DIMENSION), dtype=np.float32)

    vectors_mb = rows * DIMENSION * BYTES_A_NUMBER / 2**20
    cache = SharedEmbeddingCache(folder, max_memory_mb=vectors_mb + 1)  # for the small one too
    # What a program needs anyway (its texts, and code used for the first time) is no vector.
    texts = Texts(f"text {number}" for number in range(rows))
    cache.load_or_create("warm", _Encoder(), ["a text"], compute).sum(dtype=np.float64)
    warm = cache.info().computed
    pipe.send({"ready": True})
    try:
        pipe.recv()
        vectors = cache.load_or_create("bench", _Encoder(), texts, compute)
        total = float(vectors.sum(dtype=np.float64))
        pipe.send({"sum": total, "computed": cache.info().computed - warm})
        pipe.recv()
    except EOFError:
        return
