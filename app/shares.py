"""Memory that several processes share: how many connections each has, and what they count."""

import mmap
import os
import tempfile
from pathlib import Path

from app.performance.ledger import Ledger, room

# Of a process that takes no connections: it has not begun, or it has ended.
ABSENT = 2**32 - 1
# A sixteenth more than another one is even; nobody waits for that.
EVEN = 16
# Where the ledger begins: a page behind the connections.
_LEDGER = mmap.ALLOCATIONGRANULARITY


def table(processes: int) -> int:
    """A descriptor of such memory, for the processes to inherit."""
    if hasattr(os, "memfd_create"):  # needs no folder that can be written
        descriptor = os.memfd_create("citestream-shares")
    else:
        descriptor, path = tempfile.mkstemp()
        Path(path).unlink()
    os.truncate(descriptor, _LEDGER + room(processes))
    shares = Shares(descriptor, processes)
    for slot in range(processes):
        shares.leave(slot)
    return descriptor


def ledger(descriptor: int, processes: int, slot: int) -> Ledger:
    """What they count, as the one in this slot sees it."""
    return Ledger(descriptor, _LEDGER, processes, slot)


class Shares:
    """The numbers, as one of the processes sees them, or their parent."""

    def __init__(self, descriptor: int, processes: int) -> None:
        self._numbers = memoryview(mmap.mmap(descriptor, 4 * processes)).cast("I")

    def has(self, slot: int, connections: int) -> None:
        """The process in this slot has so many now."""
        self._numbers[slot] = connections

    def leave(self, slot: int) -> None:
        """The process in this slot takes no more."""
        self._numbers[slot] = ABSENT

    def is_turn_of(self, slot: int) -> bool:
        """Whether it has no more than its part, so that the next one is for it to take."""
        least = min(self._numbers)
        return self._numbers[slot] <= least + least // EVEN
