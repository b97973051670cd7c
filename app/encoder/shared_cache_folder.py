"""The folder of a shared cache: its entries, their sizes, and which of them has to go.

`<name>.vectors` is an entry, `<name>.partial` one that is being written by whoever holds
`<name>.lock`; `folder.lock` is held while entries are removed and renamed.
"""

import os
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from app.encoder.shared_cache_entry import Matrix, Wanted, write
from app.encoder.shared_cache_locks import file_lock

ENTRY = ".vectors"
PARTIAL = ".partial"
LOCK = ".lock"
FOLDER_LOCK = "folder" + LOCK


class CacheUnusable(OSError):
    """The folder cannot hold a cache; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry's file. `last_used` is its modification time in nanoseconds."""

    path: Path
    bytes: int
    last_used: int


class Folder:
    """The entries of all processes, together at most `max_bytes`."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path.absolute()
        self.max_bytes = max_bytes

    def prepare(self) -> None:
        """Make the folder, closed to others, unless it exists. CacheUnusable where that fails or
        where another user could put files into it: vectors are believed."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.path.stat()
        except OSError as error:
            raise CacheUnusable(
                f"The cache folder {self.path} cannot be made ({error.strerror}); "
                "choose another or make room for it."
            ) from error
        if status.st_uid != os.geteuid():
            raise CacheUnusable(
                f"The cache folder {self.path} belongs to another user; choose another."
            )
        if stat.S_IMODE(status.st_mode) & 0o022:
            raise CacheUnusable(
                f"Other users may write into the cache folder {self.path}; close it to them "
                "(chmod 700) or choose another."
            )

    def entry(self, name: str) -> Path:
        return self.path / (name + ENTRY)

    def lock(self, name: str, held: ExitStack) -> None:
        """Hold the right to compute and store an entry for as long as `held` is open; waits for
        whoever has it. OSError where the folder cannot be written."""
        self.prepare()
        held.enter_context(file_lock(self.path / (name + LOCK)))

    def store(self, wanted: Wanted, matrix: Matrix) -> int:
        """Store an entry, whose lock we hold, whole or not at all; how many others had to go.

        Raises OSError and leaves nothing behind.
        """
        partial = self.path / (wanted.name + PARTIAL)
        partial.unlink(missing_ok=True)  # of a process that was killed
        try:
            write(partial, wanted, matrix)
            with file_lock(self.path / FOLDER_LOCK):
                self._sweep()
                evicted = self._make_room(wanted)
                partial.replace(self.entry(wanted.name))
                return evicted
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise

    def entries(self) -> list[Stored]:
        """What is stored now; empty where the folder cannot be read."""
        found = []
        with suppress(OSError), os.scandir(self.path) as files:
            for file in files:
                with suppress(FileNotFoundError):  # removed meanwhile
                    if file.name.endswith(ENTRY) and file.is_file(follow_symlinks=False):
                        status = file.stat(follow_symlinks=False)
                        found.append(Stored(Path(file.path), status.st_size, status.st_mtime_ns))
        return found

    def _make_room(self, wanted: Wanted) -> int:
        """Remove what was not used for longest, until the new entry is within the limit."""
        own = self.entry(wanted.name)  # replaced, so it takes no room
        others = sorted(
            (entry for entry in self.entries() if entry.path != own),
            key=lambda entry: entry.last_used,
        )
        excess = sum(entry.bytes for entry in others) + wanted.file_bytes - self.max_bytes
        evicted = 0
        while excess > 0:
            entry = others[evicted]
            entry.path.unlink(missing_ok=True)
            excess -= entry.bytes
            evicted += 1
        return evicted

    def _sweep(self) -> None:
        """Remove what killed processes left: files of entries whose lock nobody holds."""
        names = {
            path.stem
            for path in self.path.iterdir()
            if path.suffix in (PARTIAL, LOCK) and path.name != FOLDER_LOCK
        }
        for name in names:
            with suppress(OSError), file_lock(self.path / (name + LOCK), wait=False):
                (self.path / (name + PARTIAL)).unlink(missing_ok=True)
