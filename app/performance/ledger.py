"""Memory that the processes of one service share, with a place for what each of them has counted.

A process writes in its own place alone, and all read all of them, so that whichever is asked tells
of everybody, without a server in between. A place outlives its process: the one that comes instead
finds there what was counted before, and goes on from it.
"""

import mmap
import struct
import zlib
from collections.abc import Mapping

# Of one place; what is not used takes no memory. A process with 40 stages, each of whose times
# are spread over all buckets there are, packs 0.8 MB; one that has run for a day 60 KB.
HALF_BYTES = 1024 * 1024
_CURRENT = struct.Struct("<Q")  # which half is the one to read
_HEAD = struct.Struct("<II")  # how long it is, and its checksum
_WHEN = struct.Struct("<d")  # it was written
_HEAD_BYTES = 64
_PLACE_BYTES = _HEAD_BYTES + 2 * HALF_BYTES
_TRIES = 3


def room(places: int) -> int:
    """How many bytes the memory of so many has."""
    return _PLACE_BYTES * places


class Ledger:
    """The memory at `offset` of a descriptor, as the process in `place` sees it. `offset` is a
    multiple of the pages' size."""

    def __init__(self, descriptor: int, offset: int, places: int, place: int) -> None:
        self._memory = mmap.mmap(descriptor, room(places), offset=offset)
        self._places = places
        self.place = place

    def write(self, packed: bytes, now: float) -> bool:
        """Put it in this process's place; False where there is no room for it. `now` is on a clock
        that all processes have in common."""
        body = _WHEN.pack(now) + packed
        if len(body) > HALF_BYTES - _HEAD.size:
            return False
        begin = self.place * _PLACE_BYTES
        (current,) = _CURRENT.unpack_from(self._memory, begin)
        other = 1 - current
        half = begin + _HEAD_BYTES + other * HALF_BYTES
        # Whoever is killed here leaves the half that is read as it was.
        _HEAD.pack_into(self._memory, half, len(body), zlib.crc32(body))
        self._memory[half + _HEAD.size : half + _HEAD.size + len(body)] = body
        _CURRENT.pack_into(self._memory, begin, other)
        return True

    def read(self) -> Mapping[int, tuple[float, bytes]]:
        """What is in each place that was written to, and when it was."""
        found = {place: self._read(place) for place in range(self._places)}
        return {place: each for place, each in found.items() if each is not None}

    def own(self) -> bytes | None:
        """What is in this process's place, from itself or the one before it."""
        found = self._read(self.place)
        return None if found is None else found[1]

    def _read(self, place: int) -> tuple[float, bytes] | None:
        begin = place * _PLACE_BYTES
        for _ in range(_TRIES):
            (current,) = _CURRENT.unpack_from(self._memory, begin)
            half = begin + _HEAD_BYTES + current * HALF_BYTES
            length, checksum = _HEAD.unpack_from(self._memory, half)
            if not length:
                return None
            body = self._memory[half + _HEAD.size : half + min(_HEAD.size + length, HALF_BYTES)]
            if zlib.crc32(body) == checksum:
                return _WHEN.unpack_from(body)[0], body[_WHEN.size :]
        return None  # it was written to twice while it was read, each time
