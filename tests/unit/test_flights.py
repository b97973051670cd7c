"""Following a run of another process: when it counts as dead, and when it is only late."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

import pytest

from app.api.sse import decode, frame
from app.chat import flights
from app.chat.events import Event, Failed, Sources, Start, Token
from app.chat.flights import GONE_LOOKS, UNKNOWN_LOOKS, RemoteLeader
from app.chat.model import Scope
from app.errors import Unavailable
from tests.support.core import SCOPE

RUN = uuid4()
SAID: list[Event] = [Start(RUN, uuid4(), uuid4()), Sources([]), Token("Ana"), Token(" Ruiz")]


class Elsewhere:
    """A leader of another process and its run's stream. `answers` says what each look for the
    leader finds (None: nobody can say), the last one ever after."""

    def __init__(self, *answers: bool | None) -> None:
        self.frames = asyncio.Queue[bytes | None]()
        self.looks = 0
        self._answers = answers
        self._last: tuple[int, Sequence[Event]] = (-1, ())

    def say_all(self, look: int) -> None:
        """Everything, of which the last words come as the leader is looked for that time."""
        self.say(*SAID[:3])
        self._last = look, SAID[3:]

    def say(self, *events: Event) -> None:
        for number, event in enumerate(events, 1):
            self.frames.put_nowait(frame(number, event))

    async def lead(self, key: str, run_id: UUID) -> UUID | None:
        raise AssertionError

    async def leader(self, key: str) -> UUID | None:
        look, words = self._last
        if look == self.looks:
            self.say(*words)
            self.frames.put_nowait(None)
        led = self._answers[min(self.looks, len(self._answers) - 1)]
        self.looks += 1
        if led is None:
            raise Unavailable
        return RUN if led else None

    def let_go(self, key: str, run_id: UUID) -> None:
        raise AssertionError

    async def share(self, scope: Scope, run_id: UUID, after: int) -> AsyncIterator[bytes]:
        while (said := await self.frames.get()) is not None:
            yield said

    async def is_kept(self, scope: Scope, run_id: UUID) -> bool:
        return False


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "LOOK_SECONDS", 0.01)


async def told(elsewhere: Elsewhere) -> list[Event]:
    leader = RemoteLeader("key", SCOPE, RUN, elsewhere, elsewhere, decode)
    return [event async for event in leader.follow()]


async def test_one_that_is_gone_for_some_looks_is_dead() -> None:
    elsewhere = Elsewhere(True, True, False)
    elsewhere.say(*SAID)
    events = await told(elsewhere)
    assert events[:-1] == SAID
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "interrupted"
    assert elsewhere.looks == 2 + GONE_LOOKS


async def test_one_that_has_let_go_may_still_be_heard() -> None:
    elsewhere = Elsewhere(False)
    elsewhere.say_all(GONE_LOOKS - 2)
    assert await told(elsewhere) == SAID


@pytest.mark.parametrize("unknown", [1, GONE_LOOKS, UNKNOWN_LOOKS - 1])
async def test_where_nobody_can_say_it_goes_on(unknown: int) -> None:
    elsewhere = Elsewhere(*[None] * unknown, True)
    elsewhere.say_all(unknown)
    assert await told(elsewhere) == SAID
    assert elsewhere.looks >= unknown


async def test_what_nobody_could_say_before_does_not_count_against_it() -> None:
    elsewhere = Elsewhere(*[None] * (UNKNOWN_LOOKS - 1), False)
    elsewhere.say_all(UNKNOWN_LOOKS)
    assert await told(elsewhere) == SAID


async def test_where_nobody_can_say_for_long_it_is_dead() -> None:
    elsewhere = Elsewhere(None)
    elsewhere.say(*SAID)
    events = await told(elsewhere)
    assert events[:-1] == SAID
    assert isinstance(events[-1], Failed)
    assert elsewhere.looks == UNKNOWN_LOOKS
