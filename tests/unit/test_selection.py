"""Who gets a place: neighbours put together, documents' shares, diversity."""

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.model import Passage, QueryComplexity
from app.retrieval.diversity import diverse
from app.retrieval.fusion import Candidate
from app.retrieval.neighbours import MAX_CHARS
from app.retrieval.ports import Hit
from app.retrieval.selection import most_of_one, select

LEVELS = st.sampled_from(QueryComplexity)
MEDIUM, ALL = QueryComplexity.MEDIUM, QueryComplexity.COMPREHENSIVE
SPACES = st.text(" \n\t\u00a0", max_size=3)


def document(number: int, pieces: Sequence[tuple[str, str]]) -> tuple[str, list[Hit]]:
    """A text, and its chunks with what stands behind each."""
    text, chunks = "", []
    for ordinal, (piece, tail) in enumerate(pieces):
        start, text = len(text), text + piece
        chunks.append(
            Hit(
                chunk_id=100 * number + ordinal,
                document_id=number,
                title=f"Title {number}",
                uri=None,
                text=piece,
                start=start,
                end=len(text),
                language="en",
                score=0.0,
                ordinal=ordinal,
                tail=tail,
            )
        )
        text += tail
    return text, chunks


def chunks(number: int, count: int, chars: int = 20) -> list[Hit]:
    return document(number, [(f"{number}.{n} ".ljust(chars, "x"), "\n\n") for n in range(count)])[1]


def ranked(*hits: Hit) -> list[Candidate]:
    """Candidates in this order."""
    return [
        Candidate(hit, 1 / place, {"keyword": place}, None)
        for place, hit in enumerate(hits, start=1)
    ]


def ids(passages: Sequence[Passage]) -> list[int]:
    return [passage.chunk_id for passage in passages]


def test_neighbours_are_one_passage_and_free_a_place() -> None:
    one, two = chunks(1, 3), chunks(2, 2)
    candidates = ranked(one[1], two[0], one[0], chunks(3, 1)[0])
    candidates[2] = Candidate(one[0], 0.3, {"keyword": 3, "vector": 1}, 0.8)
    first, second, third = select(candidates, 3, MEDIUM)
    assert (first.chunk_id, first.start, first.end) == (101, one[0].start, one[1].end)
    assert first.text == f"{one[0].text}\n\n{one[1].text}"
    assert (first.score, first.similarity) == (1.0, 0.8)
    assert first.sources == {"keyword": 1, "vector": 1}
    assert ids([second, third]) == [200, 300]
    assert [passage.number for passage in (first, second, third)] == [1, 2, 3]


def test_a_chunk_between_two_joins_both() -> None:
    one = chunks(1, 3)
    (only,) = select(ranked(one[0], one[2], one[1]), 3, MEDIUM)
    assert (only.chunk_id, only.start, only.end) == (100, one[0].start, one[2].end)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({}, {"document_id": 2}),
        ({}, {"ordinal": 2}),
        ({}, {"ordinal": 0}),
        ({"tail": ""}, {}),  # a hit that does not say what follows it
        ({}, {"start": 23}),  # of an older version of the document
    ],
)
def test_what_does_not_follow_stays_apart(left: dict[str, Any], right: dict[str, Any]) -> None:
    one = chunks(1, 2)
    passages = select(ranked(one[0]._replace(**left), one[1]._replace(**right)), 5, MEDIUM)
    assert ids(passages) == [100, 101]


def test_a_passage_has_a_greatest_length() -> None:
    one = chunks(1, 6, chars=900)
    passages = select(ranked(*one), 6, MEDIUM)
    assert [(each.start, each.end - each.start) for each in passages] == [
        (0, 1802),
        (1804, 1802),
        (3608, 1802),
    ]
    assert all(len(each.text) <= MAX_CHARS for each in passages)


def test_one_document_takes_half_of_the_places_where_others_match() -> None:
    apart = chunks(1, 12)[::2]  # no two of them are neighbours
    others = [chunks(number, 1)[0] for number in range(2, 6)]
    passages = select(ranked(*apart, *others), 4, MEDIUM)
    assert ids(passages) == [100, 102, 200, 300]
    alone = select(ranked(*apart), 4, MEDIUM)
    assert ids(alone) == [100, 102, 104, 106]
    assert ids(select(ranked(*apart, others[0]), 4, MEDIUM)) == [100, 102, 104, 200]


@pytest.mark.parametrize(("top_k", "most"), [(1, 1), (2, 1), (3, 2), (8, 4), (15, 8)])
def test_the_share_of_one_document(top_k: int, most: int) -> None:
    assert most_of_one(top_k) == most


def test_a_broad_question_gets_what_says_something_new() -> None:
    texts = ["React board for wind farms", "React board of wind farms", "Django stock of a shop"]
    hits = [document(n, [(text, "")])[1][0] for n, text in enumerate(texts, start=1)]
    candidates = [
        Candidate(hit, score, {}, None) for hit, score in zip(hits, (1, 0.9, 0.7), strict=True)
    ]
    candidates += ranked(*(document(9, [("nothing near", "")])[1]))
    candidates[-1] = Candidate(candidates[-1].hit, 0.1, {}, None)
    assert ids(select(candidates, 2, MEDIUM)) == [100, 200]
    assert ids(select(candidates, 2, ALL)) == [100, 300]


def test_diversity_of_nothing_and_of_equals() -> None:
    assert diverse([], 3) == []
    equal = [Candidate(chunks(n, 1)[0], 0.5, {}, None) for n in (1, 2)]
    assert diverse(equal, 5) == equal


@given(
    st.lists(st.lists(st.tuples(st.text(min_size=1, max_size=8), SPACES), max_size=6), max_size=4),
    st.randoms(use_true_random=False),
    st.integers(1, 8),
    LEVELS,
)
def test_passages_are_the_documents_text_in_the_best_places(
    documents: list[list[tuple[str, str]]],
    shuffle: random.Random,
    top_k: int,
    level: QueryComplexity,
) -> None:
    made = {n: document(n, pieces) for n, pieces in enumerate(documents, start=1)}
    hits = [hit for _, found in made.values() for hit in found]
    shuffle.shuffle(hits)
    passages = select(ranked(*hits), top_k, level)
    for passage in passages:
        assert made[passage.document_id][0][passage.start : passage.end] == passage.text
    assert [passage.number for passage in passages] == list(range(1, len(passages) + 1))
    assert len(passages) <= top_k
    assert bool(passages) == bool(hits)
    assert len(set(ids(passages))) == len(passages)
    assert all(left.score >= right.score for left, right in pairwise(passages))
    if len(passages) < top_k:  # then nothing was left out
        assert sum(map(len, (each.text for each in passages))) >= sum(len(h.text) for h in hits)
