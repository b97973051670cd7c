"""Asking in advance, on fakes: which questions, what is stored of it, and when it stops."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from app.chat.administration import AgentRecord, Page
from app.chat.model import Question, Scope
from app.chat.policy import Policy
from app.chat.ports import Finish
from app.chat.warming import Asked, Outcome, Warmed, Warmer, most_frequent
from app.commands.warm import sentence
from app.errors import NotFound, ProviderUnavailable
from tests.support.core import SCOPE, Core

QUESTION = "What React projects are there?"


def test_messages_of_one_key_count_as_one_and_follow_ups_not_at_all() -> None:
    asked = [
        Asked("And the second one?", "en", 9),
        Asked("Who leads Atlas?", "en", 4),
        Asked("What is Borea?", "en", 3),
        Asked("What  is Borea? ", "en", 2),
        Asked("¿Qué es Borea?", "en", 1),
        Asked("¿Qué es Borea?", "es", 1),
        Asked("Who leads atlas?", "en", 1),
    ]
    assert most_frequent(asked, 10) == [
        Asked("What is Borea?", "en", 5),
        Asked("Who leads Atlas?", "en", 4),
        Asked("Who leads atlas?", "en", 1),
        Asked("¿Qué es Borea?", "es", 1),
    ]
    assert [each.times for each in most_frequent(asked, 1)] == [5]
    assert [each.times for each in most_frequent(asked, 10, at_least=2)] == [5, 4]


async def test_a_warmed_answer_is_the_one_that_is_asked_for_and_nothing_is_stored() -> None:
    core = Core()
    engine, question = core.engine(), Question("default", QUESTION)
    assert await engine.warm(SCOPE, question) is Warmed.PRODUCED
    assert (core.conversations.began, core.conversations.turns) == ({}, [])
    assert not engine.runs.active
    answer = await engine.ask(QUESTION)
    assert answer.done.cached
    assert [each.quote for each in answer.done.citations] == ["The answer is here."]
    assert await engine.warm(SCOPE, question) is Warmed.CACHED
    assert len(core.provider.prompts) == 1


async def test_a_warmed_answer_is_what_asking_would_have_said() -> None:
    asked, warmed = Core(), Core()
    await asked.engine().ask(QUESTION)
    await warmed.engine().warm(SCOPE, Question("default", QUESTION))
    assert warmed.cache.entries == asked.cache.entries


@pytest.mark.parametrize(
    ("core", "asks_the_provider"),
    [
        (Core(policy=Policy(answer_cache=False)), False),
        (Core(), True),
    ],
    ids=["cache off", "declined"],
)
async def test_what_cannot_be_kept_is_said(core: Core, asks_the_provider: bool) -> None:
    core.provider.finish = Finish("content_filter")
    warmed = await core.engine().warm(SCOPE, Question("default", QUESTION))
    assert warmed is Warmed.NOT_CACHEABLE
    assert bool(core.provider.prompts) == asks_the_provider
    assert not [key for key in core.cache.entries if key.startswith("agent:")]


async def test_a_degraded_answer_is_not_paid_for() -> None:
    core = Core()
    core.retriever.degraded = ["vector"]
    warmed = await core.engine().warm(SCOPE, Question("default", QUESTION))
    assert (warmed, core.provider.prompts) == (Warmed.NOT_CACHEABLE, [])


class Gate(asyncio.Event):
    """Tells how many wait at it."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Semaphore(0)

    async def wait(self) -> Literal[True]:
        self.arrived.release()
        return await super().wait()


async def test_a_run_at_the_same_time_is_its_own_and_cancelling_ends_the_call() -> None:
    core = Core()
    core.provider.gate = gate = Gate()
    engine = core.engine()
    warming = asyncio.create_task(engine.warm(SCOPE, Question("default", QUESTION)))
    await gate.arrived.acquire()
    asking = asyncio.create_task(engine.ask(QUESTION))
    await gate.arrived.acquire()
    warming.cancel()
    await asyncio.wait({warming})
    assert (warming.cancelled(), core.provider.closed) == (True, 1)
    gate.set()
    assert not (await asking).done.cached


class Agents:
    """Some agents' names, in pages of one."""

    def __init__(self, *names: str) -> None:
        now = datetime.now(UTC)
        self.records = [
            AgentRecord(
                number, name, "", "", "auto", None, 1, None, None, None, None, 8, 3000, 0.2, 1,
                now, now,
            )
            for number, name in enumerate(names, 1)
        ]  # fmt: skip

    async def list(self, scope: Scope, limit: int, after: str | None) -> Page[AgentRecord]:
        at = int(after or 0)
        more = str(at + 1) if at + 1 < len(self.records) else None
        return Page(self.records[at : at + 1], more)


class Service:
    """Questions by agent, and what becomes of each message when it is warmed."""

    def __init__(self, questions: Mapping[int, Sequence[str]], becomes: Mapping[str, Any]) -> None:
        self.questions = questions
        self.becomes = becomes
        self.warmed: list[tuple[Any, str, str | None]] = []
        self.shown: list[tuple[str, int, int]] = []
        self.days = 0

    async def frequent(self, scope: Scope, agent_id: int, days: int) -> Sequence[Asked]:
        self.days = days
        return [Asked(each, "en", 1) for each in self.questions.get(agent_id, ())]

    async def warm(self, scope: Scope, question: Question) -> Warmed:
        self.warmed.append((question.agent, question.message, question.language))
        outcome = self.becomes.get(question.message, Warmed.PRODUCED)
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Warmed)
        return outcome

    async def run(self, agent: str | None = None, top: int = 10, concurrency: int = 1) -> Outcome:
        warmer = Warmer(self.warm, Agents("one", "two", "2"), self)  # type: ignore[arg-type]
        show = lambda name, done, total: self.shown.append((name, done, total))  # noqa: E731
        return await warmer.run(SCOPE, agent, top, 7, concurrency, show)


def asks(count: int) -> list[str]:
    return [f"What is project {number}?" for number in range(count)]


async def test_each_agents_most_frequent_are_warmed_and_counted() -> None:
    a, b, c = asks(3)
    service = Service({1: [a, b], 2: [c]}, {a: Warmed.CACHED, c: Warmed.NOT_CACHEABLE})
    outcome = await service.run()
    assert service.warmed == [(1, a, "en"), (1, b, "en"), (2, c, "en")]
    assert sentence(outcome) == "1 already cached, 1 produced, 1 not cacheable, 0 failed."
    assert service.shown == [
        ("one", 0, 2), ("one", 1, 2), ("one", 2, 2), ("two", 0, 1), ("two", 1, 1), ("2", 0, 0),
    ]  # fmt: skip
    assert service.days == 7


@pytest.mark.parametrize(("agent", "number"), [("one", 1), ("1", 1), ("2", 3)])
async def test_an_agent_is_found_by_name_before_its_id(agent: str, number: int) -> None:
    service = Service({each: asks(3) for each in (1, 2, 3)}, {})
    outcome = await service.run(agent, top=2)
    assert [each for each, *_ in service.warmed] == [number, number]
    assert outcome.counts[Warmed.PRODUCED] == 2


async def test_an_unknown_agent_is_said_before_anything_is_asked() -> None:
    service = Service({1: asks(1)}, {})
    with pytest.raises(NotFound, match="no such agent"):
        await service.run("nobody")
    assert not service.warmed


async def test_failures_in_a_row_end_it_and_single_ones_do_not() -> None:
    away = ProviderUnavailable()
    a, b, c, d, e, f = asks(6)
    service = Service({1: [a, b, c, d, e, f], 2: [a]}, {a: away, b: away, d: away, e: away})
    outcome = await service.run()
    assert (outcome.failed, outcome.counts[Warmed.PRODUCED], outcome.stopped) == (5, 2, None)

    becomes = {a: away, b: away, c: Warmed.CACHED, d: away}
    service = Service({1: [a, b, c, d, e, f], 2: [a]}, becomes)
    outcome = await service.run()
    assert (outcome.failed, outcome.stopped) == (3, away)
    assert [message for _, message, _ in service.warmed] == [a, b, c, d]


async def test_so_many_at_a_time() -> None:
    service, gate = Service({1: asks(5)}, {}), Gate()
    going: list[int] = [0]

    async def warm(scope: Scope, question: Question) -> Warmed:
        going.append(going[-1] + 1)
        await gate.wait()
        going.append(going[-1] - 1)
        return Warmed.PRODUCED

    service.warm = warm  # type: ignore[method-assign]
    running = asyncio.create_task(service.run(concurrency=2))
    for _ in range(2):
        await gate.arrived.acquire()
    gate.set()
    assert (await running).counts[Warmed.PRODUCED] == 5
    assert max(going) == 2


async def test_nothing_asked_is_said() -> None:
    assert sentence(await Service({}, {}).run()).startswith("Nothing to do")


async def test_a_language_that_was_asked_for_is_part_of_the_question() -> None:
    core = Core()
    engine = core.engine()
    await engine.warm(SCOPE, replace(Question("default", QUESTION), language="es"))
    assert not (await engine.ask(QUESTION)).done.cached
    assert (await engine.ask(QUESTION, language="es")).done.cached
