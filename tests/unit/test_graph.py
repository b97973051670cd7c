"""The walk over a question's names, and the source around it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.chat.model import Scope
from app.chat.ports import RetrievalRequest
from app.retrieval.graph import MAX_CANDIDATES, Link, candidate_keys, rank
from app.retrieval.ports import Hit
from app.retrieval.sources.graph import GraphSource

SCOPE = Scope(1)


@pytest.mark.parametrize(
    ("question", "some"),
    [
        ("who led harbor checkout?", {"harbor checkout", "harbor", "who led harbor checkout"}),
        ("¿Quién dirigió BRÚJULA?", {"brujula", "quien dirigio brujula"}),
        ("Atlas's tables, please", {"atlas", "atlas tables"}),
        ("is C++ faster than Python 3.12", {"c++", "python 3.12"}),
    ],
)
def test_candidates_are_the_words_of_a_question_alone_and_together(
    question: str, some: set[str]
) -> None:
    assert some <= set(candidate_keys(question))


@pytest.mark.parametrize("question", ["", "  \n", "¿?!", "🙂", "\u200b"])
def test_a_question_without_words_has_no_candidates(question: str) -> None:
    assert candidate_keys(question) == []


@pytest.mark.parametrize("question", ["word " * 1600, "x" * 8000, "a b " * 2000, "¿" * 8000])
def test_a_long_question_has_bounded_candidates(question: str) -> None:
    keys = candidate_keys(question)
    assert len(keys) == len(set(keys)) <= MAX_CANDIDATES


def test_a_name_early_in_a_long_question_is_among_them() -> None:
    text = " ".join(f"w{n}" for n in range(1500))
    assert "w200 w201 w202 w203" in candidate_keys(text)


def test_chunks_of_the_question_come_before_those_that_they_lead_to() -> None:
    links = [
        Link("atlas", True, [1, 2]),
        Link("pebble", False, [1, 10, 11]),
        Link("riverbed", False, [2, 20]),
        Link("elsewhere", False, [30, 31]),
    ]
    ranked = rank(links, 10)
    assert list(ranked) == [2, 1, 20, 10, 11]
    assert sum(map(math.exp, ranked.values())) == pytest.approx(1)  # every chunk is among them
    assert list(ranked.values()) == sorted(ranked.values(), reverse=True)


def test_what_two_names_of_the_question_lead_to_comes_before_what_one_does() -> None:
    links = [
        Link("atlas", True, [1]),
        Link("lumen", True, [2]),
        Link("pebble", False, [1, 2, 50]),
        Link("riverbed", False, [1, 60, 61]),
    ]
    assert [chunk for chunk in rank(links, 5) if chunk >= 50] == [50, 60, 61]


def test_a_rare_name_counts_more_than_a_frequent_one() -> None:
    links = [Link("python", True, [1, 2, 3, 4, 5]), Link("atlas", True, [9])]
    assert next(iter(rank(links, 6))) == 9


def test_the_limit_and_the_order_of_equals() -> None:
    links = [Link("a", True, [5, 3, 4, 1])]
    assert list(rank(links, 2)) == [1, 3]
    assert rank(links, 0) == {}


@pytest.mark.parametrize(
    "links", [[], [Link("a", False, [1, 2])], [Link("a", True, [])], [Link("a", True, []),
              Link("b", False, [1])]],
)  # fmt: skip
def test_without_a_chunk_of_the_questions_names_nothing_is_found(links: list[Link]) -> None:
    assert rank(links, 5) == {}


@dataclass
class FakeGraph:
    """A `GraphStore` of given links that notes what it is asked."""

    links: Sequence[Link] = ()
    asked: list[tuple[int, Sequence[str], Mapping[str, Any]]] = field(default_factory=list)
    fetched: list[Mapping[int, float]] = field(default_factory=list)

    async def neighbourhood(
        self, scope: Scope, portfolio_id: int, keys: Sequence[str], filters: Mapping[str, Any]
    ) -> Sequence[Link]:
        self.asked.append((portfolio_id, keys, filters))
        return self.links

    async def hits(self, scope: Scope, scores: Mapping[int, float]) -> Sequence[Hit]:
        self.fetched.append(scores)
        found = scores.items()
        return [Hit(id, 1, "t", None, "x", 0, 1, "en", 0, "", score) for id, score in found]


def request(query: str, top_k: int = 5) -> RetrievalRequest:
    return RetrievalRequest(query, 7, top_k, "en", filters={"kind": "a"})


async def test_the_source_asks_within_the_filters_and_returns_the_best() -> None:
    store = FakeGraph([Link("atlas", True, [1, 2]), Link("pebble", False, [2, 3, 4])])
    hits = await GraphSource(store).search(SCOPE, request("Atlas?", top_k=3))
    assert store.asked == [(7, ["atlas"], {"kind": "a"})]
    assert [hit.chunk_id for hit in hits] == [2, 1, 3]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


async def test_a_question_without_names_costs_no_second_round_trip() -> None:
    store = FakeGraph()
    assert await GraphSource(store).search(SCOPE, request("why?")) == []
    assert store.fetched == []
