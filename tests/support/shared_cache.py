"""An encoder and ways to compute for tests of the shared cache; also what their processes run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from app.encoder.shared_cache import SharedEmbeddingCache

DIMENSION = 8


@dataclass(frozen=True)
class Encoder:
    id: str = "model@1"
    dimension: int = DIMENSION


ENCODER = Encoder()


def vectors_of(texts: Sequence[str], dimension: int = DIMENSION) -> Any:
    """What the encoder of these tests makes of texts: something of each text's own."""
    rows = [np.random.default_rng(list(text.encode())).random(dimension) for text in texts]
    return np.asarray(rows, dtype=np.float32)


@dataclass
class Compute:
    """Counts its calls."""

    encode: Callable[[Sequence[str]], Any] = vectors_of
    calls: int = 0
    _lock: Lock = field(default_factory=Lock)

    def __call__(self, texts: Sequence[str]) -> Any:
        with self._lock:
            self.calls += 1
        return self.encode(texts)


def entry_of(folder: Path) -> Path:
    """The file of the only entry."""
    (path,) = folder.glob("*.vectors")
    return path


def serve(pipe: Connection, folder: Path) -> None:
    """A process that does what it is told: ("ask", key, texts) answers with the vectors and its
    info; ("hold", key, texts) says "computing" in the midst of computing and never ends;
    ("wait", key, texts) goes on from there when it is told so."""
    cache = SharedEmbeddingCache(folder, max_memory_mb=16)

    def pausing(texts: Sequence[str]) -> Any:
        pipe.send("computing")
        pipe.recv()
        return vectors_of(texts)

    while True:
        try:
            action, key, texts = pipe.recv()
        except EOFError:
            return
        compute = vectors_of if action == "ask" else pausing
        vectors = cache.load_or_create(key, ENCODER, texts, compute)
        pipe.send((vectors.tolist(), cache.info()))
