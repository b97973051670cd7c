"""What all processes of an installation have measured, by way of Redis.

Each process puts its snapshot there every few seconds under a key of its own, which expires; who
reports reads them all and adds them up. `performance:{installation}` is the set of the members.
Nothing depends on any machine's clock.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from app.performance.monitor import PerformanceMonitor
from app.performance.report import report
from app.performance.snapshot import Snapshot, merge, pack, unpack
from app.stores.redis_cache import RedisCache

PUBLISH_SECONDS = 5.0
# A process that has not published for so long is gone, and its numbers with it.
KEPT_SECONDS = 30


class SharedPerformance:
    """One process's monitor among the others'. Without Redis, or while it is away, it is alone.

    `process` is this one's name among them.
    """

    def __init__(
        self,
        monitor: PerformanceMonitor,
        cache: RedisCache | None,
        *,
        installation: str,
        process: str,
    ) -> None:
        self._monitor = monitor
        self._cache = cache
        self._members = f"performance:{{{installation}}}"  # in a cluster, all keys in one slot
        self._own = process
        self._publishing = asyncio.Lock()

    async def keep_publishing(self) -> None:
        """Go on until cancelled; a Redis that is away is waited for."""
        while True:
            await self.publish()
            await asyncio.sleep(PUBLISH_SECONDS)

    async def publish(self) -> Snapshot:
        """Let the others know what there is now; what that is."""
        async with self._publishing:  # an older one must not come behind a newer one
            snapshot = self._monitor.snapshot()
            packed = pack(snapshot)
            if self._cache is not None:
                await self._cache.ask(
                    ("SET", self._key(self._own), packed, "EX", KEPT_SECONDS),
                    ("SADD", self._members, self._own),
                    ("EXPIRE", self._members, KEPT_SECONDS),
                )
        return snapshot

    async def report(self) -> dict[str, Any]:
        """Everything that was measured. `scope` is `all` where that is of all processes, else
        `process`; `unreadable` counts those of another version, whose numbers are not in it."""
        own = await self.publish()
        published = await self._read()
        return await asyncio.to_thread(self._report, own, published)

    def _report(self, own: Snapshot, published: Mapping[str, bytes] | None) -> dict[str, Any]:
        others = _unpacked(published or {}, self._own)
        return {
            "scope": "process" if published is None else "all",
            "processes": 1 + len(others),
            "unreadable": len({*(published or {}), self._own}) - 1 - len(others),
            **report(merge([own, *others.values()])),
        }

    async def _read(self) -> Mapping[str, bytes] | None:
        """What all processes have published; None where there is no Redis."""
        cache = self._cache
        if cache is None or (members := await cache.ask(("SMEMBERS", self._members))) is None:
            return None
        names = [member.decode() for member in members[0]]
        if not names:
            return {}
        values = await cache.ask(*[("GET", self._key(name)) for name in names])
        if values is None:
            return None
        found = dict(zip(names, values, strict=True))
        if gone := [name for name, value in found.items() if value is None]:
            await cache.ask(("SREM", self._members, *gone))  # one that lives comes back by itself
        return {name: value for name, value in found.items() if value is not None}

    def _key(self, member: str) -> str:
        return f"{self._members}:{member}"


def _unpacked(published: Mapping[str, bytes], own: str) -> Mapping[str, Snapshot]:
    """Those of the others that can be read."""
    read = {name: unpack(packed) for name, packed in published.items() if name != own}
    return {name: snapshot for name, snapshot in read.items() if snapshot is not None}
