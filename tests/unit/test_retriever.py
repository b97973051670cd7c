"""The retriever over its sources: which are asked, what becomes of what they found."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.chat.model import QueryComplexity, Scope
from app.chat.ports import RetrievalRequest
from app.errors import EncoderUnavailable, InvalidInput
from app.retrieval.ports import Hit, Source
from app.retrieval.rerank import RERANKED
from app.retrieval.retriever import HybridRetriever
from app.retrieval.sources import KNOWN_SOURCES
from app.retrieval.sources.keyword import KeywordSource
from app.retrieval.sources.vector import VectorSource
from tests.support.memory_stores import MemoryEncoder, MemoryPassages, hashed, hit

SCOPE = Scope(tenant_id=1)
REQUEST = RetrievalRequest("what?", portfolio_id=7, top_k=3, language="en", filters={"year": 2024})


@dataclass
class Fixed:
    """A source with these hits."""

    name: str
    hits: Sequence[Hit] = ()

    async def search(self, scope: Scope, request: RetrievalRequest) -> Sequence[Hit]:
        return self.hits[: request.top_k]


@dataclass
class ByLength:
    """A reranker to which longer is better. `fault` is raised, `gate` is waited for."""

    fault: Exception | None = None
    gate: asyncio.Event | None = None
    asked: list[Sequence[str]] = field(default_factory=list)
    gives: Sequence[float] | None = None

    async def rerank(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        self.asked.append(texts)
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return self.gives if self.gives is not None else [len(text) - 100.0 for text in texts]


def retriever(*sources: Source, **options: Any) -> HybridRetriever:
    ticks = iter(range(1000))
    return HybridRetriever(sources, 1.0, clock=lambda: next(ticks), **options)


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
        await retriever(*map(Fixed, switched_on)).retrieve(SCOPE, request)
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


async def ids(request: RetrievalRequest, *sources: Source, **options: Any) -> list[int]:
    found = await retriever(*sources, **options).retrieve(SCOPE, request)
    return [passage.chunk_id for passage in found.passages]


@pytest.mark.parametrize(
    ("languages", "known", "expected"),
    [
        (("en",), "memory@1", [1, 2, 9]),
        (("en",), None, [1, 2, 9]),  # a caller that does not know which encoder
        (("en", "es"), "memory@1", [1, 9, 2]),
        (("*",), "memory@1", [1, 9, 2]),
        (("en",), "elsewhere@1", [1, 9, 2]),
    ],
)
async def test_vectors_count_by_what_their_encoder_understands(
    languages: Sequence[str], known: str | None, expected: list[int]
) -> None:
    sources = Fixed("vector", [hit(1), hit(9)]), Fixed("keyword", [hit(1), hit(2), hit(9)])
    encoder = MemoryEncoder(languages=languages)
    request = replace(REQUEST, language="es", encoder=known)
    assert await ids(request, *sources, encoders={encoder.name: encoder}) == expected


async def test_an_encoder_that_comes_later_is_weighed_from_then_on() -> None:
    sources = Fixed("vector", [hit(1), hit(9)]), Fixed("keyword", [hit(1), hit(2), hit(9)])
    encoders: dict[str, MemoryEncoder] = {}
    asked = retriever(*sources, encoders=encoders)
    request = replace(REQUEST, language="es", encoder="memory@1")
    before = await asked.retrieve(SCOPE, request)
    encoders["memory@1"] = MemoryEncoder(languages=("en",))
    after = await asked.retrieve(SCOPE, request)
    assert [each.chunk_id for each in before.passages] == [1, 9, 2]
    assert [each.chunk_id for each in after.passages] == [1, 2, 9]


async def test_an_encoder_that_nobody_has_met_yet_counts_fully() -> None:
    class Unmet(dict[str, MemoryEncoder]):
        def __getitem__(self, name: str) -> MemoryEncoder:
            raise EncoderUnavailable

    sources = Fixed("vector", [hit(1), hit(9)]), Fixed("keyword", [hit(1), hit(2), hit(9)])
    request = replace(REQUEST, language="es", encoder="memory@1")
    assert await ids(request, *sources, encoders=Unmet()) == [1, 9, 2]


async def test_without_a_persona_its_source_is_not_asked() -> None:
    voice, keywords = Fixed("persona", [hit(1)]), Fixed("keyword", [hit(2)])
    for request, found in ((REQUEST, [2]), (replace(REQUEST, persona_id=8), [1, 2])):
        retrieval = await retriever(voice, keywords).retrieve(SCOPE, request)
        assert [passage.chunk_id for passage in retrieval.passages] == found
        assert set(retrieval.timings_ms) == {"persona", "keyword", "fuse"}
        assert bool(retrieval.timings_ms["persona"]) is (request.persona_id is not None)
    named = replace(REQUEST, sources=["persona"])
    assert (await retriever(voice, keywords).retrieve(SCOPE, named)).passages == []


async def test_all_sources_come_together() -> None:
    sources = [Fixed(name, [hit(n), hit(9)]) for n, name in enumerate(KNOWN_SOURCES, start=1)]
    request = replace(REQUEST, top_k=6, persona_id=8)
    found = await retriever(*sources).retrieve(SCOPE, request)
    assert found.passages[0].chunk_id == 9
    assert found.passages[0].sources == dict.fromkeys(KNOWN_SOURCES, 2)
    assert set(found.timings_ms) == {*KNOWN_SOURCES, "fuse"}
    assert len(found.passages) == 6


async def test_when_no_source_finds_anything_there_is_nothing() -> None:
    empty = [Fixed(name) for name in KNOWN_SOURCES]
    for level in QueryComplexity:
        request = replace(REQUEST, complexity=level)
        found = await retriever(*empty, reranker=ByLength()).retrieve(SCOPE, request)
        assert (list(found.passages), list(found.degraded)) == ([], [])


async def test_more_than_there_is_gives_all_there_is() -> None:
    request = replace(REQUEST, top_k=100)
    for level in QueryComplexity:
        sources = Fixed("vector", [hit(n) for n in range(1, 6)]), Fixed("keyword", [hit(3)])
        found = await ids(replace(request, complexity=level), *sources)
        assert sorted(found) == [1, 2, 3, 4, 5]


async def test_a_repeated_text_leaves_its_place_to_the_next() -> None:
    copies = [hit(n, "the same text") for n in range(1, 5)] + [hit(5), hit(6)]
    assert await ids(REQUEST, Fixed("keyword", copies)) == [1, 5, 6]


async def test_the_rerankers_order_is_the_answers() -> None:
    texts = ["short", "a little longer", "by far the longest"]
    hits = [hit(n, text) for n, text in enumerate(texts, start=1)]
    found = await retriever(Fixed("keyword", hits), reranker=ByLength()).retrieve(SCOPE, REQUEST)
    assert [passage.chunk_id for passage in found.passages] == [3, 2, 1]
    assert [passage.score for passage in found.passages] == [-82.0, -85.0, -95.0]
    assert set(found.timings_ms) == {"keyword", "reranker", "fuse"}
    assert found.degraded == ()


async def test_the_reranker_reads_the_best_only() -> None:
    reranker = ByLength()
    many = [hit(n) for n in range(1000, 1100)]
    request = replace(REQUEST, top_k=20)
    assert len(await ids(request, Fixed("keyword", many), reranker=reranker)) == 20
    assert [list(texts) for texts in reranker.asked] == [[each.text for each in many[:RERANKED]]]


@pytest.mark.parametrize("top_n, read", [(1, 3), (5, 5), (50, 20)])
async def test_how_many_it_reads_can_be_set_but_no_fewer_than_are_wanted(
    top_n: int, read: int
) -> None:
    reranker = ByLength()
    many = [hit(n) for n in range(1000, 1100)]
    assert (
        len(await ids(REQUEST, Fixed("keyword", many), reranker=reranker, rerank_top_n=top_n)) == 3
    )
    assert [len(texts) for texts in reranker.asked] == [read]


@pytest.mark.parametrize(
    "reranker",
    [
        ByLength(fault=EncoderUnavailable()),
        ByLength(fault=ZeroDivisionError("a bug")),
        ByLength(gate=asyncio.Event()),
        ByLength(gives=[1.0]),
        ByLength(gives=[1.0, math.nan]),
    ],
)
async def test_without_the_reranker_the_fused_order_stays(reranker: ByLength) -> None:
    sources = [Fixed("keyword", [hit(1, "short"), hit(2, "much longer")])]
    found = await retriever(*sources, reranker=reranker, deadlines={"reranker": 0.02}).retrieve(
        SCOPE, REQUEST
    )
    assert [passage.chunk_id for passage in found.passages] == [1, 2]
    assert found.degraded == ("reranker",)
    assert "reranker" in found.timings_ms
