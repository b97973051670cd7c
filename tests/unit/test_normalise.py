import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.model import MAX_MESSAGE_CHARS
from app.chat.normalise import check_message, check_text, normalise_message
from app.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is React?", "What is React?"),
        ("  What \t is\r\n\n React? ", "What is React?"),
        ("What\u00a0is\u2003React?\u3000", "What is React?"),
        ("co\u0301mo", "c\u00f3mo"),
        ("e\u200b\u0301", "\u00e9"),
        ("\ufeffRe\u200bact\u2060", "React"),
        ("US", "US"),
        ("us", "us"),
        ("R&D?!", "R&D?!"),
        ("x\u00b2 + \u00bd", "x\u00b2 + \u00bd"),
        ("\ufb01ne", "\ufb01ne"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("", ""),
    ],
)
def test_normalise_message(text: str, expected: str) -> None:
    assert normalise_message(text) == expected


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise_message(text)
    assert normalise_message(once) == once


@pytest.mark.parametrize(
    "message",
    [
        "a",
        "¿Qué es React?",
        "line\r\n\tindented",
        "x" * MAX_MESSAGE_CHARS,
        "👍",
        "😀" * 8000,
        "a\x7f",
    ],
)
def test_what_may_enter_is_returned_as_it_came(message: str) -> None:
    assert check_message(message) is message


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (None, "must be a string"),
        (7, "must be a string"),
        (b"Hello", "must be a string"),
        (["Hello"], "must be a string"),
        ("", "is empty"),
        (" \t\r\n\u00a0\u2028", "is empty"),
        ("\u200b\u200d\ufeff\u00ad", "is empty"),
        ("x" * 8001, "has 8,001 characters; send at most 8,000"),
        ("a\x00b", "U+0000"),
        ("bell \x07", "U+0007"),
        ("\x1b[31mred", "U+001B"),
        ("page\x0cbreak", "U+000C"),
        ("\ud800", "surrogate"),
        ("half \udfff pair", "surrogate"),
    ],
)
def test_what_may_not_enter(message: object, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_message(message)
    assert sentence in refused.value.message
    assert "`message`" in refused.value.message
    assert refused.value.code == "invalid_input"


@given(st.text(st.characters(exclude_categories=[]), max_size=30))
def test_what_enters_can_be_stored(text: str) -> None:
    try:
        accepted = check_message(text)
    except InvalidInput as refusal:
        refusal.message.encode()
    else:
        assert "\x00" not in accepted
        assert accepted.encode().decode() == accepted


def test_check_text_names_its_field_and_its_limit() -> None:
    assert check_text("Atlas", "title", 5) == "Atlas"
    with pytest.raises(InvalidInput, match="`title` has 6 characters; send at most 5"):
        check_text("Atlas!", "title", 5)
    with pytest.raises(InvalidInput, match="`name` is empty"):
        check_text("  ", "name", 5)
    with pytest.raises(InvalidInput, match="`name` contains the control character"):
        check_text("\x00", "name", 5)


def test_check_text_may_allow_a_blank() -> None:
    assert check_text("", "system_prompt", 5, may_be_blank=True) == ""
    with pytest.raises(InvalidInput):
        check_text("\x00", "system_prompt", 5, may_be_blank=True)
