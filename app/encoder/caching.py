"""Query vectors remembered: in this process for the hottest, in Redis for all processes.

The same questions come again and again, from every agent; a vector depends on the encoder and the
text alone, so all of them share one entry. Document vectors are not kept here: they are many, seen
once, and remembered in Postgres by the ingestion.
"""

import asyncio
import hashlib
import struct
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial

from app.chat.model import Vector
from app.chat.ports import Cache, Encoder

# 2,000 vectors of 384 floats are 20 MB as Python lists; as half floats they are 1.5 MB.
LOCAL_ENTRIES = 2000
# Questions repeat within a day; an entry is a kilobyte.
TTL_SECONDS = 24 * 3600

Tracked = Callable[[], AbstractContextManager[None]]


@dataclass(slots=True, eq=False)
class _Finding:
    """A vector on its way: looked up at once, encoded as soon as it is needed. `expecting` are
    those who have not said yet whether they need it, or not left."""

    task: "asyncio.Task[bytes]" = field(init=False)
    needed: asyncio.Event = field(default_factory=asyncio.Event)
    expecting: int = 0
    asked: bool = False
    encoded: bool = False


@dataclass(slots=True)
class VectorCacheStatistics:
    """Where the query vectors came from since the start."""

    local_hits: int = 0
    shared_hits: int = 0
    joined: int = 0
    encoded: int = 0


class CachingEncoder:
    """`app.chat.ports.Encoder` that asks `encoder` only for what neither cache has.

    Vectors are rounded to half floats whether they were cached or not, so that a hit and a miss
    find the same passages; the index stores half floats too. Equal texts asked for at once are
    encoded once.
    """

    def __init__(self, encoder: Encoder, cache: Cache, tracked: Tracked = nullcontext) -> None:
        """`tracked` is entered for each question that is encoded."""
        self._encoder = encoder
        self._tracked = tracked
        self._cache = cache
        self._local: OrderedDict[str, bytes] = OrderedDict()
        self._pending: dict[str, _Finding] = {}
        self._sharing: set[asyncio.Task[None]] = set()
        self._statistics = VectorCacheStatistics()

    @property
    def name(self) -> str:
        return self._encoder.name

    @property
    def dimension(self) -> int:
        return self._encoder.dimension

    @property
    def languages(self) -> Collection[str]:
        return self._encoder.languages

    def statistics(self) -> dict[str, int]:
        """Counts by origin: local_hits, shared_hits, joined (another's encoding), encoded."""
        return asdict(self._statistics)

    async def embed_query(self, text: str) -> Vector:
        """The vector of a question. Raises what the encoder raises; nothing is cached then."""
        key = query_key(self.name, text)
        packed = None if key in self._pending else self._local.get(key)
        if packed is not None:
            self._local.move_to_end(key)
            self._statistics.local_hits += 1
            return unpack(packed)
        return unpack(await self._join(key, text))

    def expect(self, text: str) -> "ExpectedVector | None":
        """Look up the vector of a question that `embed_query` may be asked for. It is encoded for
        whoever needs it first; None where this process has it."""
        key = query_key(self.name, text)
        if key in self._local and key not in self._pending:
            return None
        finding = self._finding(key, text)
        finding.expecting += 1
        return ExpectedVector(finding, partial(self._leave, key, finding))

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        return await self._encoder.embed_documents(texts)

    async def _join(self, key: str, text: str) -> bytes:
        """One task for all who wait for this text. It goes on when they leave, since a question
        that was cut off is likely to come again."""
        finding = self._finding(key, text)
        finding.needed.set()
        first, finding.asked = not finding.asked, True
        if not first:
            self._statistics.joined += 1
        packed = await asyncio.shield(finding.task)
        if first and not finding.encoded:
            self._statistics.shared_hits += 1
            self._keep(key, packed)  # it may have been found before anybody needed it
        return packed

    def _finding(self, key: str, text: str) -> _Finding:
        finding = self._pending.get(key)
        if finding is None:
            finding = self._pending[key] = _Finding()
            finding.task = asyncio.create_task(self._find(key, text, finding))
            finding.task.add_done_callback(lambda task: self._settled(key, finding))
        return finding

    def _settled(self, key: str, finding: _Finding) -> None:
        task = finding.task
        # Those who waited have the error; nobody may be left to.
        found = not task.cancelled() and task.exception() is None
        if not (found and finding.expecting):
            self._forget(key, finding)

    def _leave(self, key: str, finding: _Finding) -> None:
        finding.expecting -= 1
        if finding.expecting:
            return
        if finding.task.done():
            self._forget(key, finding)
        elif not finding.needed.is_set():
            self._forget(key, finding)  # first: nobody is to join what is cancelled
            finding.task.cancel()

    def _forget(self, key: str, finding: _Finding) -> None:
        if self._pending.get(key) is finding:
            del self._pending[key]

    async def _find(self, key: str, text: str, finding: _Finding) -> bytes:
        [packed] = await self._cache.get_many([key])
        if packed is None or len(packed) != 2 * self.dimension:
            await finding.needed.wait()
            with self._tracked():
                packed = pack(await self._encoder.embed_query(text))
            finding.encoded = True
            self._statistics.encoded += 1
            # For the other processes, which must not cost this question a round trip.
            sharing = asyncio.create_task(self._cache.put(key, packed, TTL_SECONDS, ()))
            self._sharing.add(sharing)
            sharing.add_done_callback(self._sharing.discard)
        if finding.needed.is_set():
            self._keep(key, packed)
        return packed

    def _keep(self, key: str, packed: bytes) -> None:
        self._local[key] = packed
        if len(self._local) > LOCAL_ENTRIES:
            self._local.popitem(last=False)


class ExpectedVector:
    """`app.chat.ports.ExpectedVector` of a `CachingEncoder`."""

    def __init__(self, finding: _Finding, left: Callable[[], None]) -> None:
        self._finding = finding
        self._left = left

    def encode(self) -> None:
        self._finding.needed.set()

    def leave(self) -> None:
        self._left()


def query_key(encoder: str, text: str) -> str:
    """The entry of a text under an encoder. The text itself is not in it."""
    digest = hashlib.sha256(encoder.encode() + b"\0" + text.encode())
    return f"rag:vector:{digest.hexdigest()}"


def pack(vector: Vector) -> bytes:
    """Little-endian half floats, two bytes a dimension."""
    return struct.pack(f"<{len(vector)}e", *vector)


def unpack(packed: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(packed) // 2}e", packed))
