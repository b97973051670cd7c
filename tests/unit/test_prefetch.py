"""The likeliest next questions, asked while nothing runs: which, when, how many."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from app.chat.model import Question, Scope
from app.chat.prefetch import PER_MINUTE, Prefetcher, likeliest
from app.chat.warming import Asked, Warmed
from app.errors import DatabaseUnavailable, ProviderTimeout
from tests.support.core import Core

FIRST, NEXT, THIRD = "What is Atlas?", "Who leads Atlas?", "When was Atlas finished?"
BOTH = [Asked(NEXT, "en", 3), Asked(THIRD, "en", 2)]


@pytest.mark.parametrize(
    ("following", "chosen"),
    [
        ([], []),
        ([Asked(NEXT, "en", 1)], []),
        ([Asked(NEXT, "en", 1), Asked(f" {NEXT}", "en", 1)], [NEXT]),
        ([Asked("And who leads it?", "en", 9), *BOTH], [NEXT, THIRD]),
        ([Asked(FIRST, "en", 9), Asked("What  is Atlas?", "en", 9), *BOTH], [NEXT, THIRD]),
        ([*BOTH, Asked("Who leads Borea?", "en", 5)], ["Who leads Borea?", NEXT]),
    ],
)
def test_the_likeliest_are_few_frequent_and_stand_alone(
    following: Sequence[Asked], chosen: Sequence[str]
) -> None:
    assert likeliest(following, FIRST) == chosen


class World:
    """What followed what, and what was warmed; `gate` holds warming up, `errors` are raised first.
    Its clock stands still unless a test moves it."""

    def __init__(self, following: Mapping[str, Sequence[Asked]]) -> None:
        self.following_of = following
        self.warmed: list[Question] = []
        self.arrived = asyncio.Condition()
        self.looked: list[str] = []
        self.gate: asyncio.Event | None = None
        self.stopped = asyncio.Event()
        self.errors: list[Exception] = []
        self.becomes = Warmed.PRODUCED
        self.now = 0.0
        self.clocked = asyncio.Event()

    def clock(self) -> float:
        self.clocked.set()
        return self.now

    async def following(
        self, scope: Scope, agent_id: int, message: str, days: int
    ) -> Sequence[Asked]:
        async with self.arrived:
            self.looked.append(message)
            self.arrived.notify_all()
        if self.errors:
            raise self.errors.pop()
        return self.following_of.get(message, ())

    async def warm(self, scope: Scope, question: Question) -> Warmed:
        async with self.arrived:
            self.warmed.append(question)
            self.arrived.notify_all()
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.stopped.set()
                raise
        return self.becomes

    async def until(self, warmed: int = 0, looked: int = 0) -> None:
        async with asyncio.timeout(5), self.arrived:
            await self.arrived.wait_for(
                lambda: len(self.warmed) >= warmed and len(self.looked) >= looked
            )


@asynccontextmanager
async def prefetching(core: Core, world: World) -> AsyncIterator[Any]:
    """The core's engine with a prefetcher that takes no pause before it counts as idle."""
    engine = core.engine()
    prefetcher = Prefetcher(world, world.warm, world.clock, idle_seconds=0)
    engine.watched_by(prefetcher)
    running = asyncio.create_task(prefetcher.run())
    try:
        yield engine
    finally:
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()


async def test_what_came_next_is_asked_in_the_same_conversation_the_same_way() -> None:
    world = World({FIRST: BOTH})
    async with prefetching(Core(), world) as engine:
        answer = await engine.ask(FIRST, language="en", filters={"team": "web"})
        await world.until(warmed=2)
    assert [each.message for each in world.warmed] == [NEXT, THIRD]
    for question in world.warmed:
        assert (question.agent, question.language, question.filters, question.conversation_id) == (
            1, "en", {"team": "web"}, answer.done.conversation_id,
        )  # fmt: skip


async def test_a_run_that_begins_stops_it_at_once_and_nothing_is_done_beside_it() -> None:
    world, core = World({FIRST: BOTH}), Core()
    async with prefetching(core, world) as engine:
        world.gate = asyncio.Event()
        await engine.ask(FIRST)
        await world.until(warmed=1)
        core.provider.gate = asyncio.Event()
        async with aclosing(engine.stream(NEXT)) as events:
            await anext(events)
            await world.stopped.wait()
            core.provider.gate.set()
            async for _ in events:
                assert (len(world.warmed), world.looked) == (1, [FIRST])
        await world.until(looked=2)
    assert world.looked == [FIRST, NEXT]
    assert len(world.warmed) == 1


@pytest.mark.parametrize("options", [{"cache": "off"}, {"cache": "refresh"}], ids=str)
async def test_who_wants_no_cached_answers_is_not_prepared_for(options: dict[str, Any]) -> None:
    world = World({FIRST: BOTH})
    async with prefetching(Core(), world) as engine:
        await engine.ask(FIRST, **options)
        await engine.ask(NEXT)
        await world.until(looked=1)
    assert world.looked == [NEXT]


async def test_a_failed_answer_has_no_next_question() -> None:
    world, core = World({FIRST: BOTH}), Core()
    async with prefetching(core, world) as engine:
        core.provider.error = ProviderTimeout()
        with pytest.raises(ProviderTimeout):
            await engine.ask(FIRST)
        core.provider.error = None
        await engine.ask(NEXT)
        await world.until(looked=1)
    assert world.looked == [NEXT]


@pytest.mark.parametrize("error", [DatabaseUnavailable(), ValueError("a defect")], ids=repr)
async def test_what_fails_is_left_for_the_next_answer(error: Exception) -> None:
    world = World({FIRST: BOTH})
    world.errors = [error]
    async with prefetching(Core(), world) as engine:
        await engine.ask(FIRST)
        await world.until(looked=1)
        await engine.ask(FIRST)
        await world.until(warmed=2)


async def test_so_many_a_minute_and_what_was_cached_is_not_counted() -> None:
    world = World({FIRST: BOTH})
    async with prefetching(Core(), world) as engine:
        for warmed in range(2, PER_MINUTE + 1, 2):
            await engine.ask(FIRST)
            await world.until(warmed=warmed)
        world.now, looked = 59.0, len(world.looked)
        world.clocked.clear()
        await engine.ask(FIRST)
        await world.clocked.wait()
        assert len(world.looked) == looked
        world.now, world.becomes = 60.0, Warmed.CACHED
        for warmed in range(2, 2 * PER_MINUTE + 1, 2):
            await engine.ask(FIRST)
            await world.until(warmed=PER_MINUTE + warmed)
    assert len(world.warmed) == 3 * PER_MINUTE
