"""At which moments of a turn its process is killed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.soak.killed_turns.wire import Point, Wire
from tests.soak.provider import PacedProvider

POLL_SECONDS = 0.002


class Moment(Protocol):
    """Something that a turn comes to, as it can be seen from outside of its process."""

    def prepare(self, wire: Wire) -> None:
        """Begin to look for it; the request comes next."""
        ...

    async def reached(self, wire: Wire, provider: PacedProvider, heard: "Ear") -> None: ...


@dataclass(slots=True)
class Ear:
    """How many calls had been made before the request, and how many events its client has."""

    calls_before: int
    events: int = 0


@dataclass(frozen=True, slots=True)
class AtStatement:
    """A statement is about to reach Postgres, or is committed there and its process does not know
    it."""

    point: Point

    def prepare(self, wire: Wire) -> None:
        wire.arm(self.point)

    async def reached(self, wire: Wire, provider: PacedProvider, heard: Ear) -> None:
        await wire.reached.wait()

    def __str__(self) -> str:
        return str(self.point)


@dataclass(frozen=True, slots=True)
class AtToken:
    """The model's server has sent so many tokens; 0: it has been asked."""

    tokens: int

    def prepare(self, wire: Wire) -> None:
        wire.arm(None)

    async def reached(self, wire: Wire, provider: PacedProvider, heard: Ear) -> None:
        await provider.arrived(heard.calls_before + 1)
        call = provider.calls[heard.calls_before]
        while call.sent < self.tokens:  # noqa: ASYNC110 — nobody tells
            await asyncio.sleep(POLL_SECONDS)

    def __str__(self) -> str:
        return f"at token {self.tokens}"


@dataclass(frozen=True, slots=True)
class AtEvent:
    """The client has so many events of the stream."""

    events: int

    def prepare(self, wire: Wire) -> None:
        wire.arm(None)

    async def reached(self, wire: Wire, provider: PacedProvider, heard: Ear) -> None:
        while heard.events < self.events:  # noqa: ASYNC110 — nobody tells
            await asyncio.sleep(POLL_SECONDS)

    def __str__(self) -> str:
        return f"at event {self.events}"


def moments(points: Sequence[Point], tokens: int) -> list[Moment]:
    """All of them: both sides of every statement, some tokens, some events; the last event is the
    end of the answer, behind which there is nothing to lose."""
    return [
        *(AtStatement(each) for each in points),
        *(AtToken(each) for each in (0, 1, tokens // 2, tokens)),
        *(AtEvent(each) for each in (1, 2, 3, tokens // 2, tokens + 3)),
    ]
