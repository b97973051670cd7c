"""Vectors computed once and held in memory once, for all threads and processes of a machine.

For programs without Postgres. Every entry is a file that all processes map: the pages exist once,
however many use them. Needs numpy, which comes with the encoder's extra; nothing else here does.
"""

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias
from weakref import WeakSet, WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from app.encoder.shared_cache_entry import (
    Damaged,
    DType,
    Identified,
    Matrix,
    Texts,
    VectorsRefused,
    Wanted,
    checked,
    describe,
)
from app.encoder.shared_cache_folder import CacheUnusable, Folder
from app.encoder.shared_cache_locks import Turns
from app.encoder.shared_cache_open import OpenEntries

__all__ = [
    "CacheInfo",
    "CacheUnusable",
    "SharedEmbeddingCache",
    "Texts",
    "VectorsRefused",
]

logger = logging.getLogger(__name__)

Compute: TypeAlias = Callable[[Sequence[str]], Sequence[Sequence[float]] | NDArray[Any]]


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """`entries`, `bytes` and `max_bytes` are of the folder, the counts of this process's cache.

    `hits` were answered without computing, `misses` called `compute`, which gave usable vectors
    `computed` times; `unstored` of these could not be shared. `evicted` entries had to make room
    for ours, `corrupt` ones were found damaged and computed again.
    """

    entries: int
    bytes: int
    max_bytes: int
    hits: int
    misses: int
    computed: int
    unstored: int
    evicted: int
    corrupt: int


class SharedEmbeddingCache:
    """A folder of vectors, at most `max_memory_mb` (of 2**20 bytes) of them.

    Threads may share one; processes open the same folder. The folder is one of its own, made with
    mode 0700. Raises CacheUnusable where it cannot be made or others may write into it.
    """

    def __init__(
        self, directory: str | Path, max_memory_mb: float, dtype: DType = "float32"
    ) -> None:
        if not 0 < max_memory_mb < math.inf:
            raise ValueError("max_memory_mb must be a number above 0.")
        if dtype not in ("float32", "float16"):
            raise ValueError("dtype must be float32 or float16.")
        self._folder = Folder(Path(directory), int(max_memory_mb * 2**20))
        self._folder.prepare()
        self._dtype: DType = dtype
        self._opened = OpenEntries(self._folder)
        # What could not be stored is still there once in a process while anyone uses it.
        self._unstored: WeakValueDictionary[bytes, Matrix] = WeakValueDictionary()
        self._start_anew()
        _caches.add(self)

    def load_or_create(
        self, key: str, encoder: Identified, texts: Sequence[str], compute: Compute
    ) -> Matrix:
        """The vectors of the texts, one row each: read-only, and valid for as long as the array
        lives. They are those of exactly this key, encoder and these texts; changed texts under
        the same key replace the former ones.

        Where they are missing or damaged, `compute(texts)` is called by one thread of one process,
        and whoever else asks waits for it. If that one fails or dies, the next one computes; its
        own errors reach its caller alone. `compute` hands its array over and must not ask for
        the same entry. Vectors of the wrong shape or not finite are VectorsRefused and not stored.
        Where storing fails (a full disk, a read-only folder, more than the whole limit), the
        computed vectors are returned all the same.
        """
        wanted = describe(key, encoder, texts, self._dtype)
        if not wanted.rows:
            return checked(np.empty((0, wanted.dimension), wanted.numpy_dtype), wanted)
        found = self._find(wanted)
        if found is None:
            with self._turns.take(wanted.name):
                found = self._find(wanted)
                if found is None:
                    found = self._load(wanted, report=False)
                if found is None:
                    return self._create(wanted, texts, compute)
        self._count("hits")
        return found

    def info(self) -> CacheInfo:
        """Sizes and counts as they are now."""
        self._opened.settle()
        entries = self._folder.entries()
        with self._lock:
            counts = self._counts.copy()
        return CacheInfo(
            entries=len(entries),
            bytes=sum(entry.bytes for entry in entries),
            max_bytes=self._folder.max_bytes,
            hits=counts["hits"],
            misses=counts["misses"],
            computed=counts["computed"],
            unstored=counts["unstored"],
            evicted=counts["evicted"],
            corrupt=counts["corrupt"],
        )

    def _find(self, wanted: Wanted) -> Matrix | None:
        """What this process has mapped already, or could not store."""
        found = self._opened.get(wanted)
        return self._unstored.get(wanted.fingerprint) if found is None else found

    def _load(self, wanted: Wanted, *, report: bool) -> Matrix | None:
        """What is stored. A damaged file is none; it is reported by the one who replaces it."""
        try:
            return self._opened.load(wanted)
        except Damaged as error:
            if report:
                path = self._folder.entry(wanted.name)
                logger.warning("The vectors in %s are damaged, so computed anew: %s.", path, error)
                self._count("corrupt")
            return None

    def _create(self, wanted: Wanted, texts: Sequence[str], compute: Compute) -> Matrix:
        with ExitStack() as held:
            obstacle = self._lock_entry(wanted, held)
            found = self._load(wanted, report=True)
            if found is not None:
                self._count("hits")
                return found
            self._count("misses")
            matrix = checked(compute(texts), wanted)
            self._count("computed")
            return self._share(wanted, matrix, obstacle)

    def _lock_entry(self, wanted: Wanted, held: ExitStack) -> str | None:
        """Become the one who computes; or the reason why the result cannot be shared."""
        if wanted.file_bytes > self._folder.max_bytes:
            return f"{wanted.file_bytes} bytes are more than the whole limit"
        try:
            self._folder.lock(wanted.name, held)
        except OSError as error:
            return str(error)
        return None

    def _share(self, wanted: Wanted, matrix: Matrix, obstacle: str | None) -> Matrix:
        """The stored vectors instead of the computed ones, whose memory is then free again."""
        stored = None
        if obstacle is None:
            try:
                stored = self._store(wanted, matrix)
            except OSError as error:
                obstacle = str(error)
        if stored is not None:
            return stored
        logger.warning(
            "Vectors could not be stored in %s, so this process keeps its own: %s.",
            self._folder.path,
            obstacle or "they were removed at once",
        )
        self._count("unstored")
        self._unstored[wanted.fingerprint] = matrix
        return matrix

    def _store(self, wanted: Wanted, matrix: Matrix) -> Matrix | None:
        self._opened.settle()  # so that our own order of use is exact
        self._count("evicted", self._folder.store(wanted, matrix))
        self._opened.settle()
        return self._load(wanted, report=True)

    def _count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counts[name] += by

    def _start_anew(self) -> None:
        """Also in a forked child, where a lock may be held by a thread that is not there."""
        self._lock = Lock()
        self._turns = Turns()
        self._counts: Counter[str] = Counter()


_caches: "WeakSet[SharedEmbeddingCache]" = WeakSet()


def _start_all_anew() -> None:
    for cache in _caches:
        cache._start_anew()


os.register_at_fork(after_in_child=_start_all_anew)
