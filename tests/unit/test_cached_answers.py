"""What a cached answer's entry holds, and that what is asked for all the time is read once."""

from dataclasses import replace

import pytest

from app.chat.cache import UNPACKED, UNPACKED_BYTES, CachedAnswer, pack_answer, unpack_answer
from app.chat.model import Citation, Passage, Usage


def an_answer(*pieces: str) -> CachedAnswer:
    return CachedAnswer(
        passages=[Passage(1, 7, 3, "Año", None, "text", 5, 9, 0.5, {"vector": 1}, 0.25, "es")],
        pieces=list(pieces),
        citations=[Citation(1, 3, 7, "Año", None, "dos\u2028líneas", 5, 9, 0.5)],
        usage=Usage(11, 2, estimated=True),
        finish_reason="length",
    )


def test_an_entry_is_the_answer_without_the_passages_texts() -> None:
    answer = an_answer("uno ", "dos 🙂")
    [passage] = answer.passages
    kept = replace(answer, passages=[replace(passage, text="")])
    assert unpack_answer(pack_answer(answer)) == kept != answer


def test_the_same_bytes_are_read_once() -> None:
    value = pack_answer(an_answer("often "))
    again = bytes(bytearray(value))
    assert again is not value
    assert unpack_answer(again) is unpack_answer(value)


def test_what_was_not_asked_for_lately_is_let_go() -> None:
    value = pack_answer(an_answer("once "))
    first = unpack_answer(value)
    for number in range(UNPACKED):
        unpack_answer(pack_answer(an_answer(f"{number} ")))
    assert unpack_answer(value) == first
    assert unpack_answer(value) is not first


def test_a_long_answer_is_read_each_time() -> None:
    value = pack_answer(an_answer("x" * UNPACKED_BYTES))
    assert unpack_answer(value) == unpack_answer(value)
    assert unpack_answer(value) is not unpack_answer(value)


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"{}", b'{"passages":[{"other":1}]}'])
def test_what_is_no_entry_is_a_miss(value: bytes) -> None:
    assert unpack_answer(value) is None
