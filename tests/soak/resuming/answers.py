"""Answers in the making whose every byte is known, to be read piece by piece from two replicas."""

import itertools
import unicodedata
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.soak.deployment import Deployment
from tests.soak.visits import Visit

# Longer than any pause of a reader here, so that a run outlives its readers' changing places.
GRACE_SECONDS = 60
TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
# What could break out of a frame, or be taken for the end of one, or for another event.
AWKWARD = ("line\nline ", "\r\n\r\n", "\u2028", 'data: {"type":"done"} ', "id: 3\n\n", "ñ 日本 🙂 ")
WORDS = 14


def reply(body: Mapping[str, Any]) -> Sequence[str]:
    """Twenty tokens, some of them awkward, that only this question's answer has."""
    name = unicodedata.normalize("NFC", body["messages"][-1]["content"].split()[-1])
    return [f"{name} ", *AWKWARD, *(f"word{number} " for number in range(1, WORDS))]


@dataclass(frozen=True, slots=True)
class Making:
    """A run in the making: its first reader, who may leave, and where it is produced."""

    run_id: str
    home: int
    first: Visit


class Answers:
    """Asks questions that nobody has asked before, of either replica."""

    def __init__(self, running: Deployment, agent: int) -> None:
        self._running = running
        self._agent = agent
        self._numbers = itertools.count()
        self._name = uuid4().hex[:6]

    @asynccontextmanager
    async def making(self, home: int) -> AsyncIterator[Making]:
        """A run that this replica has begun."""
        question = f"Who finished Atlas, asks {self._name}-{next(self._numbers)}"
        body = {"message": question, "grace_seconds": GRACE_SECONDS}
        path = f"/api/agents/{self._agent}/chat/stream"
        async with Visit(self._running.urls[home], "POST", path, body) as first:
            if not await first.until(1):
                raise RuntimeError(f"No event of {question}: {first.status} {first.body!r}")
            yield Making(first.events[0]["run_id"], home, first)

    def following(
        self, at: int, run_id: str, after: int, headers: Mapping[str, str] | None = None
    ) -> Visit:
        """Attach at a replica, behind the event of this number."""
        resumed = {"Last-Event-ID": str(after)} if after else {}
        path = f"/api/runs/{run_id}/events"
        return Visit(self._running.urls[at], "GET", path, headers={**resumed, **(headers or {})})

    async def length(self) -> int:
        """How many events an answer has here."""
        async with self.making(0) as making:
            await making.first.to_end()
        return len(making.first.frames)

    async def followed(self, at: int, run_id: str, after: int = 0) -> Visit:
        """The same, read to its end."""
        async with self.following(at, run_id, after) as visit:
            await visit.to_end()
        return visit
