"""Sentences keep the passage's exact text; what ends one is a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("   \n\n ", []),
        ("One sentence", ["One sentence"]),
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ("It cost 3.5 million. Sold.", ["It cost 3.5 million.", "Sold."]),
        ("Dr. Smith met J. Doe. They left.", ["Dr. Smith met J. Doe.", "They left."]),
        ("See e.g. Paris. Or p. ej. Roma. Fin.", ["See e.g. Paris.", "Or p. ej. Roma.", "Fin."]),
        ("En EE. UU. hay 50 estados. Sí.", ["En EE. UU. hay 50 estados.", "Sí."]),
        (
            "Go to https://a.example/x.html?q=1. Then stop.",
            ["Go to https://a.example/x.html?q=1.", "Then stop."],
        ),
        ("¿Qué es? ¡Es útil! ¿Y caro?", ["¿Qué es?", "¡Es útil!", "¿Y caro?"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("Version v2.0 is out. 12 people came.", ["Version v2.0 is out.", "12 people came."]),
        ("# Title\n\nText here.", ["Text here."]),
        ("- first item\n- second item\n", ["first item", "second item"]),
        ("1. first\n2) second\n", ["first", "second"]),
        ("* **Bold** item. More.\n", ["**Bold** item.", "More."]),
        ("> quoted text\n> goes on", ["quoted text", "goes on"]),
        ("A line\nthat goes on. End.", ["A line\nthat goes on.", "End."]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["| a | b |", "| 1 | 2 |"]),
        ("Before.\n```\ncode. More code.\n```\nAfter.", ["Before.", "After."]),
        ("\ufeffStart. End.", ["\ufeffStart.", "End."]),
        ("これは文です。次の文です。", ["これは文です。", "次の文です。"]),
    ],
)
def test_split(text: str, sentences: list[str]) -> None:
    assert [each.text for each in split_sentences(text)] == sentences


def test_headings_are_remembered() -> None:
    text = "Intro.\n\n## Prices\n\nIt costs 5 euros.\n\n### Hours\nOpen at nine."
    assert [(each.text, each.heading) for each in split_sentences(text)] == [
        ("Intro.", ""),
        ("It costs 5 euros.", "Prices"),
        ("Open at nine.", "Hours"),
    ]


@given(st.text(alphabet=st.sampled_from("aB1 .!?¿\n\r#-*|>`[]\"'”(é\u2028"), max_size=80))
def test_sentences_are_verbatim_ordered_and_apart(text: str) -> None:
    end = 0
    for each in split_sentences(text):
        assert each.text == text[each.start : each.end]
        assert each.text == each.text.strip()
        assert each.text
        assert each.start >= end
        end = each.end
