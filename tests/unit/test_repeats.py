"""Which texts are the same text."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.fusion import Candidate
from app.retrieval.repeats import without_repeats
from tests.support.memory_stores import hit

LONG = " ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(120))


def candidates(*texts: str) -> list[Candidate]:
    return [Candidate(hit(n, text), 1 / n, {}, None) for n, text in enumerate(texts, start=1)]


def kept(*texts: str) -> list[int]:
    return [each.hit.chunk_id for each in without_repeats(candidates(*texts))]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), []),
        (("same", "other", "same"), [1, 2]),
        (("Two  words", "two\nWORDS ", "two words more"), [1, 3]),
        (("", " "), [1]),
        (("a", "b"), [1, 2]),
        # Nearly: one word of 120 is another one; a tenth of them is too many.
        ((LONG, LONG.replace("wordab", "changed")), [1]),
        ((LONG, f"{LONG} and some more"), [1]),
        ((LONG, LONG.replace("word", "changed", 12)), [1, 2]),
        ((LONG, " ".join(reversed(LONG.split()))), [1, 2]),  # the same words say something else
        # A figure is a statement.
        ((f"{LONG} in 2023", f"{LONG} in 2024"), [1, 2]),
        ((f"{LONG} 2 of 3", f"{LONG} 3 of 2"), [1, 2]),
        ((f"{LONG} in 2023", f"{LONG.replace('wordab', 'changed')} in 2023"), [1]),
    ],
)
def test_of_texts_that_say_the_same_the_first_stays(
    texts: Sequence[str], expected: list[int]
) -> None:
    assert kept(*texts) == expected


def test_no_more_is_read_than_is_asked_for() -> None:
    source = iter(candidates("one", "one", "two", "three"))
    distinct = without_repeats(source)
    assert [next(distinct).hit.text, next(distinct).hit.text] == ["one", "two"]
    assert [each.hit.text for each in source] == ["three"]


def test_many_texts_are_compared_with_a_bounded_number() -> None:
    unlike = [f"{'x' * n} alone" for n in range(300)]
    assert len(kept(*unlike)) == 300


@given(st.lists(st.text(max_size=30), max_size=20))
def test_what_stays_is_in_order_and_stays_again(texts: list[str]) -> None:
    once = list(without_repeats(candidates(*texts)))
    assert [each.hit.chunk_id for each in once] == sorted(each.hit.chunk_id for each in once)
    assert list(without_repeats(once)) == once
    assert {" ".join(text.casefold().split()) for text in texts} >= {
        " ".join(each.hit.text.casefold().split()) for each in once
    }
    assert list(without_repeats([replace(each, score=0.0) for each in once + once])) == [
        replace(each, score=0.0) for each in once
    ]
