"""Sources side by side: deadlines, failures, cancellation."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest

from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.errors import (
    AppError,
    DatabaseUnavailable,
    EncoderUnavailable,
    InvalidInput,
    NotFound,
    Unavailable,
)
from app.retrieval.collect import Collected, Collector
from app.retrieval.ports import Hit, Source
from tests.support.memory_stores import hit

SCOPE = Scope(tenant_id=1)
REQUEST = RetrievalRequest("what?", portfolio_id=7, top_k=3, language="en", filters={"year": 2024})
DEADLINE = 0.02


class Scripted:
    """A source that does what it is told."""

    def __init__(self, name: str, act: Callable[[], Awaitable[Sequence[Hit]]]) -> None:
        self.name = name
        self._act = act

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        return await self._act()


def answering(name: str, *chunk_ids: int) -> Source:
    async def act() -> Sequence[Hit]:
        return [hit(chunk_id) for chunk_id in chunk_ids]

    return Scripted(name, act)


def failing(name: str, error: Exception) -> Source:
    async def act() -> Sequence[Hit]:
        raise error

    return Scripted(name, act)


def hanging(name: str, stopped: asyncio.Event | None = None) -> Source:
    async def act() -> Sequence[Hit]:
        try:
            await asyncio.Event().wait()
        finally:
            if stopped is not None:
                stopped.set()
        return []

    return Scripted(name, act)


def stubborn(name: str, go: asyncio.Event) -> Source:
    """Does not stop when told to, but when `go` is set."""

    async def act() -> Sequence[Hit]:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        return []

    return Scripted(name, act)


async def collect(
    *sources: Source, deadline: float = DEADLINE, deadlines: Mapping[str, float] | None = None
) -> Collected:
    collector = Collector(deadline, time.perf_counter, deadlines)
    return await collector.collect(sources, SCOPE, REQUEST)


def left_behind() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if "source:" in task.get_name()]


async def test_results_and_times_are_by_name() -> None:
    collected = await collect(answering("vector", 1, 2), answering("keyword", 2))
    assert {name: [h.chunk_id for h in hits] for name, hits in collected.hits.items()} == {
        "vector": [1, 2],
        "keyword": [2],
    }
    assert set(collected.timings_ms) == {"vector", "keyword"}
    assert collected.degraded == ()
    assert (await collect()).hits == {}


async def test_sources_run_at_the_same_time() -> None:
    meeting = asyncio.Barrier(3)

    async def act() -> Sequence[Hit]:
        await meeting.wait()
        return []

    collected = await collect(*(Scripted(name, act) for name in "abc"), deadline=5)
    assert collected.degraded == ()


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (EncoderUnavailable(), "encoder"),
        (DatabaseUnavailable(), "vector"),
        (AppError(), "vector"),
        (Unavailable(), "vector"),
        (TimeoutError(), "vector"),
        (ZeroDivisionError("a bug"), "vector"),
    ],
)
async def test_a_failing_source_is_named_and_costs_nothing_else(
    error: Exception, named: str
) -> None:
    collected = await collect(failing("vector", error), answering("keyword", 2))
    assert collected.degraded == (named,)
    assert list(collected.hits) == ["keyword"]
    assert set(collected.timings_ms) == {"vector", "keyword"}


async def test_a_hanging_source_costs_its_deadline() -> None:
    stopped = asyncio.Event()
    collected = await collect(hanging("vector", stopped), answering("keyword", 2))
    assert collected.degraded == ("vector",)
    assert list(collected.hits) == ["keyword"]
    assert stopped.is_set()
    assert collected.timings_ms["vector"] >= DEADLINE * 1000
    assert left_behind() == []


async def test_each_source_has_its_own_deadline() -> None:
    answered = asyncio.Event()

    async def act() -> Sequence[Hit]:
        # Only when the other one has been told to stop, long before this one's deadline.
        await stopped.wait()
        answered.set()
        return [hit(2)]

    stopped = asyncio.Event()
    sources = [hanging("graph", stopped), Scripted("keyword", act)]
    collected = await collect(*sources, deadline=60, deadlines={"graph": DEADLINE})
    assert collected.degraded == ("graph",)
    assert list(collected.hits) == ["keyword"]
    assert answered.is_set()


async def test_a_source_that_ignores_its_deadline_delays_nobody() -> None:
    go = asyncio.Event()
    collected = await collect(
        stubborn("stubborn", go),
        answering("keyword", 2),
        deadline=60,
        deadlines={"stubborn": DEADLINE},
    )
    assert collected.degraded == ("stubborn",)
    assert list(collected.hits) == ["keyword"]
    assert collected.timings_ms["stubborn"] == DEADLINE * 1000
    stragglers = [task for task in asyncio.all_tasks() if task.get_name() == "source:stubborn"]
    go.set()
    await asyncio.wait(stragglers)
    assert left_behind() == []


async def test_a_source_cancelled_within_costs_only_itself() -> None:
    """By a connection pool that closes, say, or left behind while a slower one was waited for."""

    async def broken_off() -> Sequence[Hit]:
        raise asyncio.CancelledError

    collected = await collect(Scripted("vector", broken_off), answering("keyword", 1))
    assert collected.degraded == ("vector",)
    assert set(collected.hits) == {"keyword"}


async def test_a_caller_that_leaves_does_not_wait_for_a_stubborn_source() -> None:
    go, started = asyncio.Event(), asyncio.Event()

    async def act() -> Sequence[Hit]:
        started.set()
        return []

    sources = stubborn("stubborn", go), Scripted("keyword", act)
    caller = asyncio.create_task(collect(*sources, deadline=60))
    await started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    stragglers = [task for task in asyncio.all_tasks() if task.get_name() == "source:stubborn"]
    go.set()
    await asyncio.wait(stragglers)


async def test_cancelling_the_caller_cancels_every_source() -> None:
    started, stopped = asyncio.Event(), [asyncio.Event(), asyncio.Event()]

    async def act() -> Sequence[Hit]:
        started.set()
        return []

    sources = [hanging("a", stopped[0]), hanging("b", stopped[1]), Scripted("c", act)]
    caller = asyncio.create_task(collect(*sources, deadline=60))
    await started.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert all(event.is_set() for event in stopped)
    assert left_behind() == []


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ((DatabaseUnavailable(), DatabaseUnavailable()), DatabaseUnavailable),
        ((EncoderUnavailable(), DatabaseUnavailable()), DatabaseUnavailable),
        ((TimeoutError(), DatabaseUnavailable()), DatabaseUnavailable),
        ((EncoderUnavailable(), TimeoutError()), None),
        ((InvalidInput("a filter"), None), InvalidInput),
        ((None, NotFound()), NotFound),
        ((None, DatabaseUnavailable()), None),
    ],
)
async def test_when_the_call_itself_fails(
    errors: Sequence[Exception | None], raised: type[Exception] | None
) -> None:
    sources = [
        failing(name, error) if error else answering(name, 1)
        for name, error in zip(("vector", "keyword"), errors, strict=True)
    ]
    if raised is None:
        assert (await collect(*sources)).degraded
    else:
        with pytest.raises(raised):
            await collect(*sources)
