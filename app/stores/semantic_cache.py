"""The semantic cache's port on Redis: a stream of questions a scope, compared in this process.

A process keeps what it has read of a scope and reads only what is new there: 0.1 ms with 1,000
questions, where reading them all each time takes 12 ms (docs/adr/0010). What it keeps beyond the
stream's own life harms nobody: it points to answers by their keys, and those are gone.
"""

import struct
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import structlog

from app.chat.model import Vector
from app.chat.ports import SimilarQuestion
from app.stores.redis_cache import RedisCache
from app.stores.tag_index import put_under

log = structlog.get_logger(__name__)

# Newest in a scope; those asked before them are asked again if they matter. A kilobyte each.
MAX_QUESTIONS = 1000
# The oldest beyond that go so many at a time, because all others are moved then.
SPARE = 250
# Of all scopes in a process, 384 floats each: 15 MB.
MAX_KEPT = 10_000
# A process that meets a large scope reads it in pieces, so that others get their turn in between.
PIECE = 100
# The guards decline most; the few best that pass are the answer.
MAX_FOUND = 8

Floats = npt.NDArray[np.float32]
# An id, then names and values in turn, as Redis gives them.
_Entry: TypeAlias = tuple[bytes, Sequence[bytes]]


@dataclass(slots=True)
class _Known:
    """What was read of a scope: up to where, and its questions with their vectors, a row each."""

    last: bytes = b"-"
    questions: list[tuple[str, str]] = field(default_factory=list)
    rows: Floats = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def extend(self, entries: Sequence[_Entry]) -> None:
        read = [each for _, fields in entries if (each := _unpack(_field(fields)))]
        self.last = b"(" + entries[-1][0]
        if not read:
            return
        dimension = len(read[-1][0])
        read = [each for each in read if len(each[0]) == dimension]
        if self.rows.shape[1] != dimension:
            self.questions, self.rows = [], np.empty((0, dimension), np.float32)
        self._make_room(len(read))
        start = len(self.questions)
        self.rows[start : start + len(read)] = [vector for vector, _, _ in read]
        self.questions += [(question, key) for _, question, key in read]

    def nearest(self, vector: Vector, at_least: float) -> list[SimilarQuestion]:
        """Among the newest."""
        if self.rows.shape[1] != len(vector):
            return []
        first = max(0, len(self.questions) - MAX_QUESTIONS)
        newest = self.rows[first : len(self.questions)]
        cosines = newest @ np.asarray(vector, dtype=np.float32)
        near = np.flatnonzero(cosines >= at_least)
        best = near[np.argsort(-cosines[near], kind="stable")][:MAX_FOUND]
        found = ((*self.questions[first + row], float(cosines[row])) for row in best)
        return [SimilarQuestion(question, key, cosine) for question, key, cosine in found]

    def _make_room(self, count: int) -> None:
        """For so many more: twice as much as is there, and in the end by forgetting the oldest."""
        kept = len(self.questions)
        if kept + count <= len(self.rows):
            return
        size = min(2 * (kept + count), MAX_QUESTIONS + SPARE)
        if kept + count > size:
            kept = MAX_QUESTIONS - count
        rows = np.empty((size, self.rows.shape[1]), np.float32)
        rows[:kept] = self.rows[len(self.questions) - kept : len(self.questions)]
        self.rows, self.questions = rows, self.questions[len(self.questions) - kept :]


class RedisSemanticCache:
    """`app.chat.ports.SemanticCache` beside the answers' cache, whose breaker it shares."""

    def __init__(self, cache: RedisCache) -> None:
        self._cache = cache
        self._counts = cache.counts.layers["semantic"]
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def nearest(
        self, scope: str, vector: Vector, at_least: float
    ) -> Sequence[SimilarQuestion]:
        self._counts.lookups += 1
        known = self._known.get(scope) or _Known()
        await self._catch_up(scope, known)
        if known.questions:
            self._known[scope] = known
            self._known.move_to_end(scope)
            self._forget()
        return known.nearest(vector, at_least)

    async def add(
        self,
        scope: str,
        vector: Vector,
        question: str,
        answer_key: str,
        ttl_seconds: int,
        tags: Sequence[str],
    ) -> None:
        self._counts.puts += 1
        entry = _pack(vector, question, answer_key)
        await self._cache.ask(
            ("XADD", scope, "MAXLEN", "~", MAX_QUESTIONS, "*", "e", entry),
            *put_under(scope, ttl_seconds, tags),
            ("EXPIRE", scope, ttl_seconds),
        )

    async def _catch_up(self, scope: str, known: _Known) -> None:
        while entries := await self._read(scope, after := known.last):
            if known.last == after:  # another request may have read the same
                known.extend(entries)
            if len(entries) < PIECE:
                return

    async def _read(self, scope: str, after: bytes) -> Sequence[_Entry]:
        replies = await self._cache.ask(("XRANGE", scope, after, "+", "COUNT", PIECE))
        return replies[0] if replies else ()

    def _forget(self) -> None:
        """Drop the scopes that were not asked for the longest."""
        kept = sum(len(known.questions) for known in self._known.values())
        while kept > MAX_KEPT and len(self._known) > 1:
            _, known = self._known.popitem(last=False)
            kept -= len(known.questions)


def _pack(vector: Vector, question: str, answer_key: str) -> bytes:
    """Half floats, as the index has them, after their number; then the rest as JSON."""
    head = struct.pack(f"<H{len(vector)}e", len(vector), *vector)
    return head + orjson.dumps([question, answer_key])


def _field(fields: Sequence[bytes]) -> bytes:
    return dict(zip(fields[::2], fields[1::2], strict=True)).get(b"e", b"")


def _unpack(entry: bytes) -> tuple[npt.NDArray[np.float16], str, str] | None:
    """None for what is no entry: a damaged or foreign value is none."""
    try:
        [dimension] = struct.unpack_from("<H", entry)
        vector = np.frombuffer(entry, dtype="<f2", count=dimension, offset=2)
        question, answer_key = orjson.loads(entry[2 + 2 * dimension :])
        return vector, str(question), str(answer_key)
    except (ValueError, struct.error):
        log.warning("an entry of the semantic cache cannot be read")
        return None
