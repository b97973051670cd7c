"""Sources side by side: deadlines, failures, cancellation, and the retriever over them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

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
from app.retrieval.retriever import HybridRetriever
from app.retrieval.sources.keyword import KeywordSource
from app.retrieval.sources.vector import VectorSource
from tests.support.memory_stores import MemoryEncoder, MemoryPassages, hashed, hit

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


async def collect(*sources: Source, deadline: float = DEADLINE) -> Collected:
    return await Collector(deadline, time.perf_counter).collect(sources, SCOPE, REQUEST)


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


async def test_a_source_that_ignores_its_deadline_delays_nobody() -> None:
    go = asyncio.Event()

    async def act() -> Sequence[Hit]:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        return []

    collector = Collector(DEADLINE, time.perf_counter)
    sources = [Scripted("stubborn", act), answering("keyword", 2)]
    collected = await collector.collect(sources, SCOPE, REQUEST)
    assert collected.degraded == ("stubborn",)
    assert list(collected.hits) == ["keyword"]
    stragglers = [task for task in asyncio.all_tasks() if task.get_name() == "source:stubborn"]
    go.set()
    await asyncio.wait(stragglers)
    assert left_behind() == []


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


def retriever(*sources: Source, languages: frozenset[str] = frozenset({"en"})) -> HybridRetriever:
    ticks = iter(range(1000))
    return HybridRetriever(sources, 1.0, languages, clock=lambda: next(ticks))


def both(store: MemoryPassages, encoder: MemoryEncoder) -> tuple[Source, Source]:
    return VectorSource(store, {encoder.name: encoder}), KeywordSource(store)


async def test_the_retriever_asks_for_more_fuses_and_cuts() -> None:
    store = MemoryPassages([hit(n) for n in (1, 2, 3, 4)], [hit(n) for n in (4, 5)])
    retrieval = await retriever(*both(store, MemoryEncoder())).retrieve(SCOPE, REQUEST)
    assert [passage.chunk_id for passage in retrieval.passages] == [4, 1, 2]
    assert [passage.number for passage in retrieval.passages] == [1, 2, 3]
    assert set(retrieval.timings_ms) == {"vector", "keyword", "fuse"}
    assert all(milliseconds >= 1000 for milliseconds in retrieval.timings_ms.values())
    assert sorted(store.asked, key=str) == [
        ("keyword", SCOPE, 7, "what?", "en", 20, {"year": 2024}),
        ("vector", SCOPE, 7, "memory@1", hashed("what?"), 20, {"year": 2024}),
    ]


async def test_without_the_encoder_keywords_answer() -> None:
    store = MemoryPassages([hit(1)], [hit(4)])
    encoder = MemoryEncoder(faults=[EncoderUnavailable()])
    retrieval = await retriever(*both(store, encoder)).retrieve(SCOPE, REQUEST)
    assert [passage.chunk_id for passage in retrieval.passages] == [4]
    assert retrieval.degraded == ("encoder",)


@pytest.mark.parametrize("known", ["memory@1", None, "former@1"])
async def test_the_portfolios_own_encoder_is_asked_once(known: str | None) -> None:
    """Also where the caller does not know it, or knows the one that served it before."""
    store = MemoryPassages([hit(1)])
    encoder, former = MemoryEncoder(), MemoryEncoder("former@1")
    source = VectorSource(store, {each.name: each for each in (encoder, former)})
    assert await source.search(SCOPE, replace(REQUEST, encoder=known)) == [hit(1)]
    assert [asked[3] for asked in store.asked] == ["memory@1"]
    assert encoder.calls == [["what?"]]
    assert former.calls == ([["what?"]] if known == "former@1" else [])


async def test_an_encoder_that_is_not_configured_is_the_encoders_fault() -> None:
    store = MemoryPassages([hit(1)], [hit(4)], encoder="elsewhere@1")
    for known in ("elsewhere@1", None, "memory@1"):
        request = replace(REQUEST, encoder=known)
        retrieval = await retriever(*both(store, MemoryEncoder())).retrieve(SCOPE, request)
        assert [passage.chunk_id for passage in retrieval.passages] == [4]
        assert retrieval.degraded == ("encoder",)


@pytest.mark.parametrize(
    ("switched_on", "asked", "sentence"),
    [
        (("vector", "keyword"), ["vektor"], "known are vector, keyword"),
        (("keyword",), ["vector"], "switched off on this server; on: keyword"),
        ((), ["vector"], "on: none"),
        (("vector",), [], "`sources` is empty"),
    ],
)
async def test_sources_that_cannot_be_asked(
    switched_on: Sequence[str], asked: Sequence[str], sentence: str
) -> None:
    request = RetrievalRequest("q", 1, 3, "en", sources=asked)
    with pytest.raises(InvalidInput) as caught:
        await retriever(*(answering(name) for name in switched_on)).retrieve(SCOPE, request)
    assert sentence in caught.value.message


async def test_only_the_named_sources_are_asked() -> None:
    store = MemoryPassages([hit(1)], [hit(4)])
    request = RetrievalRequest("q", 1, 3, "en", sources=["keyword", "keyword"])
    retrieval = await retriever(*both(store, MemoryEncoder())).retrieve(SCOPE, request)
    assert set(retrieval.timings_ms) == {"keyword", "fuse"}
    none = await retriever().retrieve(SCOPE, REQUEST)
    assert (list(none.passages), none.degraded) == ([], ())
    with pytest.raises(InvalidInput):
        await retriever().retrieve(SCOPE, RetrievalRequest("q", 1, 0, "en"))
