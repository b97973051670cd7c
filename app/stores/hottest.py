"""Entries kept in memory up to a number of bytes, those that were asked for last. Pure."""

from collections import OrderedDict
from dataclasses import dataclass

# What Python adds to the characters of a key and the bytes of a value.
ENTRY_BYTES = 250


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    until: float


class Hottest:
    """Each entry lives `life_seconds` from when it was kept, however often it is asked for."""

    def __init__(self, limit_bytes: int, life_seconds: float) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._life = life_seconds
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, now: float) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now >= entry.until:
            self.forget(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    def keep(self, key: str, value: bytes, now: float) -> None:
        """Keep it in place of what was asked for longest ago; not where it alone is too much."""
        self.forget(key)
        size = _size(key, value)
        if size > self.limit_bytes:
            return
        self._entries[key] = _Entry(value, now + self._life)
        self.bytes += size
        while self.bytes > self.limit_bytes:
            self.forget(next(iter(self._entries)))

    def forget(self, key: str) -> None:
        if entry := self._entries.pop(key, None):
            self.bytes -= _size(key, entry.value)

    def clear(self) -> None:
        self._entries.clear()
        self.bytes = 0


def _size(key: str, value: bytes) -> int:
    return ENTRY_BYTES + len(key) + len(value)
