"""One at a time: by a lock file among processes, by a lock in memory among a process's threads.

The kernel releases the lock of a process that dies, however it dies.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, get_ident

# A forked child must not keep its parent's locks alive after the parent was killed.
_descriptors: set[int] = set()


def _drop_inherited() -> None:
    while _descriptors:
        os.close(_descriptors.pop())


os.register_at_fork(after_in_child=_drop_inherited)


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Alone in here for this path, among all processes and threads; the file is gone again when
    nobody needs it. Raises OSError where it cannot be made, and BlockingIOError where another
    holds it and we do not wait."""
    descriptor = _acquire(path, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        if descriptor in _descriptors:  # it is not in a child forked meanwhile
            with suppress(OSError):  # the folder may have become read-only
                path.unlink()  # while it is still locked
            _close(descriptor)


def _acquire(path: Path, operation: int) -> int:
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        _descriptors.add(descriptor)
        try:
            fcntl.flock(descriptor, operation)
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            _close(descriptor)
            raise
        _close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """False after the former holder removed the file: those who come now lock a new one."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _close(descriptor: int) -> None:
    _descriptors.discard(descriptor)
    os.close(descriptor)


class Turns:
    """One thread of this process at a time for each name."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._turns: dict[str, _Turn] = {}

    @contextmanager
    def take(self, name: str) -> Iterator[None]:
        """Wait for this name's turn. Raises RuntimeError for a thread that has it already."""
        with self._guard:
            turn = self._turns.setdefault(name, _Turn())
            if turn.owner == get_ident():
                raise RuntimeError("What computes an entry cannot ask the cache for this entry.")
            turn.users += 1
        try:
            with turn.lock:
                turn.owner = get_ident()
                try:
                    yield
                finally:
                    turn.owner = None
        finally:
            with self._guard:
                turn.users -= 1
                if not turn.users:
                    del self._turns[name]


class _Turn:
    __slots__ = ("lock", "owner", "users")

    def __init__(self) -> None:
        self.lock = Lock()
        self.owner: int | None = None
        self.users = 0
