"""Fusion: Cormack's sums, languages, repeats, ties."""

import random
from itertools import pairwise

import pytest

from app.retrieval.fusion import FOREIGN_VECTOR_WEIGHT, K, fuse, weights
from app.retrieval.ports import Hit
from tests.support.memory_stores import hit


def hits(*chunk_ids: int) -> list[Hit]:
    return [hit(chunk_id) for chunk_id in chunk_ids]


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
def test_order(vector: list[int], keyword: list[int], expected: list[int]) -> None:
    passages = fuse({"vector": hits(*vector), "keyword": hits(*keyword)}, {}, 10)
    assert [passage.chunk_id for passage in passages] == expected
    assert [passage.number for passage in passages] == list(range(1, len(expected) + 1))


def test_a_passage_says_where_it_was_found() -> None:
    found = {"vector": [hit(1, score=0.9), hit(2, score=0.8)], "keyword": [hit(2, score=7.5)]}
    second, first = fuse(found, {}, 10)[::-1]
    assert first.chunk_id == 2
    assert first.sources == {"vector": 2, "keyword": 1}
    assert first.score == pytest.approx(1 / (K + 2) + 1 / (K + 1))
    assert first.similarity == 0.8
    assert second.sources == {"vector": 1}
    keyword_only = fuse({"keyword": [hit(3, score=4.2)]}, {}, 1)[0]
    assert keyword_only.similarity is None


def test_of_equal_texts_the_best_stays() -> None:
    found = {"vector": [hit(5, "same"), hit(4, "other"), hit(3, "same")]}
    assert [passage.chunk_id for passage in fuse(found, {}, 2)] == [5, 4]
    tied = {"vector": [hit(5, "same")], "keyword": [hit(3, "same")]}
    assert [passage.chunk_id for passage in fuse(tied, {}, 2)] == [3]


def test_a_known_language_weighs_all_alike() -> None:
    assert weights("en", frozenset({"en"})) == {}
    assert weights("es", frozenset({"en", "es"})) == {}


def test_an_english_encoder_does_not_drag_spanish_down() -> None:
    by_language = weights("es", frozenset({"en"}))
    assert by_language == {"vector": FOREIGN_VECTOR_WEIGHT}
    keyword = hits(*range(1, 11))
    wrong = hits(30, 31, 10, 32)
    fused = fuse({"vector": wrong, "keyword": keyword}, by_language, 20)
    assert [passage.chunk_id for passage in fused[:9]] == list(range(1, 10))
    assert {passage.chunk_id for passage in fused} == {*range(1, 11), 30, 31, 32}
    alone = fuse({"vector": wrong}, by_language, 20)
    assert [passage.chunk_id for passage in alone] == [30, 31, 10, 32]


def test_the_order_does_not_depend_on_who_answered_first() -> None:
    shuffle = random.Random(4)
    for _ in range(50):
        lists = {name: hits(*shuffle.sample(range(40), 20)) for name in ("vector", "keyword", "x")}
        backwards = dict(reversed(lists.items()))
        one, other = fuse(lists, {}, 20), fuse(backwards, {}, 20)
        assert [passage.chunk_id for passage in one] == [passage.chunk_id for passage in other]
        assert all(left.score >= right.score for left, right in pairwise(one))
