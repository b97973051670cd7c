"""The entries that one process has mapped and checked, and how it tells the others of their use."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from app.encoder.shared_cache_entry import Matrix, Wanted, read
from app.encoder.shared_cache_folder import Folder

# How late other processes learn that an entry was used, and we that one was removed. Telling at
# every hit would cost as much as the hit.
SETTLE_SECONDS = 1.0
# Every mapping holds a file descriptor, and many systems allow a process 1,024.
MAX_OPEN = 256


@dataclass(slots=True)
class _Open:
    fingerprint: bytes
    matrix: Matrix
    file: os.stat_result
    last_used: int
    told: int = 0


class OpenEntries:
    """At most `MAX_OPEN` entries, by name.

    Without a lock: each step is one operation on the dict, and a lost race costs one opening more.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._open: dict[str, _Open] = {}
        self._settled = time.monotonic()

    def get(self, wanted: Wanted) -> Matrix | None:
        """The vectors if they are mapped, in microseconds."""
        if time.monotonic() - self._settled >= SETTLE_SECONDS:
            self.settle()
        entry = self._open.get(wanted.name)
        if entry is None or entry.fingerprint != wanted.fingerprint:
            return None
        entry.last_used = time.time_ns()
        return entry.matrix

    def load(self, wanted: Wanted) -> Matrix | None:
        """The vectors if they are stored; they stay mapped. Raises Damaged."""
        path = self._folder.entry(wanted.name)
        mapped = read(path, wanted)
        if mapped is None:
            return None
        entry = _Open(wanted.fingerprint, mapped.matrix, mapped.file, time.time_ns())
        if _tell(path, entry):
            self._open[wanted.name] = entry
            self._bound()
        return mapped.matrix

    def settle(self) -> None:
        """Tell the others what was used here, and let go of what they removed or replaced."""
        self._settled = time.monotonic()
        for name, entry in list(self._open.items()):
            if not _tell(self._folder.entry(name), entry) and self._open.get(name) is entry:
                self._open.pop(name, None)

    def _bound(self) -> None:
        if len(self._open) > MAX_OPEN:
            entries = list(self._open.items())
            name, entry = min(entries, key=lambda item: item[1].last_used)
            _tell(self._folder.entry(name), entry)
            self._open.pop(name, None)


def _tell(path: Path, entry: _Open) -> bool:
    """Note an entry's last use at its file; False where that is gone or another."""
    try:
        if not os.path.samestat(path.stat(), entry.file):
            return False
        if entry.told != entry.last_used:
            entry.told = entry.last_used
            os.utime(path, ns=(entry.told, entry.told))
    except FileNotFoundError:
        return False
    except OSError:  # a read-only folder, whose entries are as good
        return True
    return True
