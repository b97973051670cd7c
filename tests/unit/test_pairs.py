"""Lists of questions with answers: where each pair begins, and what it answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.pairs import is_list_of_pairs, split_pairs

FAQ = """\
Welcome to our questions.

Q: How long is the warranty?
Two years.

**Q2.** Who pays for *shipping*?
We do.
"""
SPANISH = "P: ¿Cuánto dura la garantía?\nDos años.\n\nPregunta 2: ¿Quién paga?\nNosotros.\n"
GLOSSARY = (
    "- **Churn**: customers who leave.\n- **ARR** — yearly revenue.\n- **Burn:** money spent.\n"
)
HEADINGS = """\
# Questions

## Shipping

### When does it leave?
The same day.

### Can I track it?
Yes, by its number.
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            FAQ,
            [
                (None, "Welcome to our questions."),
                ("How long is the warranty?", "Q: How long is the warranty?\nTwo years."),
                ("Who pays for shipping?", "**Q2.** Who pays for *shipping*?\nWe do."),
            ],
        ),
        (
            SPANISH,
            [
                ("¿Cuánto dura la garantía?", "P: ¿Cuánto dura la garantía?\nDos años."),
                ("¿Quién paga?", "Pregunta 2: ¿Quién paga?\nNosotros."),
            ],
        ),
        (
            GLOSSARY,
            [
                ("Churn", "- **Churn**: customers who leave."),
                ("ARR", "- **ARR** — yearly revenue."),
                ("Burn", "- **Burn:** money spent."),
            ],
        ),
        (
            HEADINGS,
            [
                (None, "# Questions\n\n## Shipping"),
                ("When does it leave?", "### When does it leave?\nThe same day."),
                ("Can I track it?", "### Can I track it?\nYes, by its number."),
            ],
        ),
        ("Two years.", [("How long?", "Two years.")]),
    ],
)
def test_pairs(text: str, expected: list[tuple[str | None, str]]) -> None:
    pieces = split_pairs("How long?", text, 900)
    assert [
        (piece.question, text[piece.span.start : piece.span.end].strip()) for piece in pieces
    ] == expected


def test_a_long_answer_is_cut_and_every_part_answers_the_question() -> None:
    text = "Q: One?\n" + "Words of an answer. " * 40 + "\n\nQ: Two?\nYes.\n"
    pieces = split_pairs("FAQ", text, 300)
    assert [piece.question for piece in pieces[-2:]] == ["One?", "Two?"]
    assert sum(piece.question == "One?" for piece in pieces) > 2


@given(st.text(alphabet="Q: ?#\n*-ab¿", max_size=300))
def test_nothing_visible_is_lost_or_doubled(text: str) -> None:
    pieces = split_pairs("title", text, 40)
    place = 0
    for piece in pieces:
        assert piece.span.start >= place
        assert not text[place : piece.span.start].strip()
        place = piece.span.end
    assert not text[place:].strip()


def test_only_what_says_so_is_a_list() -> None:
    assert is_list_of_pairs({"kind": "faq"})
    assert is_list_of_pairs({"kind": "glossary"})
    assert not is_list_of_pairs({"kind": ["faq"]})
    assert not is_list_of_pairs({})
