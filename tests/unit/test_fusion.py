"""Fusion: Cormack's sums scaled by nearness, languages, levels, ties."""

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.model import QueryComplexity
from app.retrieval.fusion import FOREIGN_FACTOR, Candidate, K, fuse, knows, near, weights
from app.retrieval.ports import Hit
from app.retrieval.sources import KNOWN_SOURCES
from tests.support.memory_stores import hit

MEDIUM = QueryComplexity.MEDIUM
FOREIGN = weights(MEDIUM, foreign=True)

SCORES = st.one_of(st.floats(-1, 1), st.sampled_from([math.nan, math.inf, -math.inf, 0.0]))
LISTS = st.dictionaries(
    st.sampled_from(KNOWN_SOURCES),
    st.lists(st.builds(hit, st.integers(1, 30), score=SCORES), max_size=20),
)


def hits(*chunk_ids: int) -> list[Hit]:
    return [hit(chunk_id) for chunk_id in chunk_ids]


def ids(candidates: Sequence[Candidate]) -> list[int]:
    return [candidate.hit.chunk_id for candidate in candidates]


@pytest.mark.parametrize(
    ("vector", "keyword", "expected"),
    [
        ([1, 2, 3], [], [1, 2, 3]),
        ([], [3, 2, 1], [3, 2, 1]),
        ([], [], []),
        ([1, 2], [3, 2], [2, 1, 3]),  # what both found comes first
        ([2, 1], [1, 2], [1, 2]),  # a tie is ordered by chunk id
        ([9, 8], [5, 4], [5, 9, 4, 8]),
        ([7, 7, 8], [], [7, 8]),  # a chunk named twice counts once, at its best rank
    ],
)
def test_order_where_scores_say_nothing(
    vector: list[int], keyword: list[int], expected: list[int]
) -> None:
    assert ids(fuse({"vector": hits(*vector), "keyword": hits(*keyword)}, {})) == expected


def test_equal_scores_make_it_cormacks_sum() -> None:
    first, second = fuse({"vector": hits(2, 1), "keyword": hits(3, 2)}, {"keyword": 0.5})[:2]
    assert (first.hit.chunk_id, first.ranks) == (2, {"vector": 1, "keyword": 2})
    assert first.score == pytest.approx(1 / (K + 1) + 0.5 / (K + 2))
    assert second.score == pytest.approx(1 / (K + 2))


def test_what_is_far_behind_the_best_has_half_a_vote() -> None:
    alone = {"keyword": [hit(1, score=9.0), hit(2, score=8.9), hit(3, score=1.0)]}
    scores = [candidate.score * (K + rank) for rank, candidate in enumerate(fuse(alone, {}), 1)]
    assert scores == pytest.approx([1.0, (1 + 7.9 / 8) / 2, 0.5])
    # By ranks alone the two would be equal, and the smaller id first.
    steep = [hit(5, score=9.0), hit(4, score=1.1), hit(6, score=1.0)]
    flat = [hit(4, score=0.52), hit(5, score=0.51), hit(7, score=0.1)]
    assert ids(fuse({"keyword": steep, "vector": flat}, {}))[:2] == [5, 4]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], []),
        ([0.7], [1.0]),
        ([3.0, 3.0], [1.0, 1.0]),
        ([4.0, 3.0, 2.0], [1.0, 0.5, 0.0]),
        ([1.0, math.nan, 0.0], [1.0, 0.0, 0.0]),
        ([math.nan, math.nan], [1.0, 1.0]),
        ([1e308, -1e308], [1.0, 1.0]),  # their difference is no number
    ],
)
def test_nearness(scores: list[float], expected: list[float]) -> None:
    assert near([hit(1, score=score) for score in scores]) == expected


def test_a_candidate_knows_its_cosine_where_a_source_compared_vectors() -> None:
    found = {
        "vector": [hit(1, score=0.9), hit(2, score=0.8)],
        "keyword": [hit(2, score=7.5), hit(3, score=4.2)],
        "persona": [hit(4, score=0.4)],
    }
    assert {each.hit.chunk_id: each.similarity for each in fuse(found, {})} == {
        1: 0.9,
        2: 0.8,
        3: None,
        4: 0.4,
    }


@pytest.mark.parametrize(
    ("languages", "language", "expected"),
    [
        (["en"], "en", True),
        (["en"], "es", False),
        (["en", "es"], "es", True),
        (["*"], "ca", True),
        ([], "en", False),
    ],
)
def test_what_an_encoder_understands(languages: list[str], language: str, expected: bool) -> None:
    assert knows(languages, language) is expected


def test_vector_and_keyword_count_alike_where_the_language_is_known() -> None:
    for level in QueryComplexity:
        known = weights(level, foreign=False)
        assert known.get("vector", 1.0) == known.get("keyword", 1.0) == 1.0


def test_a_prepared_answer_counts_more_but_not_for_everything() -> None:
    assert weights(QueryComplexity.SIMPLE, foreign=False)["domain"] > 1
    assert weights(QueryComplexity.COMPREHENSIVE, foreign=False)["domain"] == 1


def test_an_english_encoder_does_not_drag_spanish_down() -> None:
    assert FOREIGN["vector"] == FOREIGN["persona"] == FOREIGN_FACTOR
    assert "keyword" not in FOREIGN
    keyword = hits(*range(1, 11))
    wrong = hits(30, 31, 10, 32)
    fused = ids(fuse({"vector": wrong, "keyword": keyword}, FOREIGN))
    assert fused[:9] == list(range(1, 10))
    assert set(fused) == {*range(1, 11), 30, 31, 32}
    assert ids(fuse({"vector": wrong}, FOREIGN)) == [30, 31, 10, 32]


@given(LISTS, st.randoms(use_true_random=False), st.booleans())
def test_the_order_does_not_depend_on_who_answered_first(
    lists: dict[str, list[Hit]], shuffle: random.Random, foreign: bool
) -> None:
    names = list(lists)
    shuffle.shuffle(names)
    by_source = weights(MEDIUM, foreign=foreign)
    one, other = fuse(lists, by_source), fuse({name: lists[name] for name in names}, by_source)
    assert [(each.hit.chunk_id, each.score) for each in one] == [
        (each.hit.chunk_id, each.score) for each in other
    ]
    assert sorted(ids(one)) == sorted({each.chunk_id for found in lists.values() for each in found})
    assert all(left.score >= right.score > 0 for left, right in pairwise(one))
