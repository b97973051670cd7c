"""Names by rules: what counts as one, what does not, and texts that no rule was made for."""

import pytest

from app.chat.names import MAX_NAME_CHARS, name_key
from app.ingest.chunk import split
from app.ingest.entities import MAX_NAMES_PER_CHUNK, entities
from app.ingest.ports import Span
from app.retrieval.graph import candidate_keys


def names(text: str, title: str = "untitled", language: str = "en") -> list[str]:
    """The names in a text of one chunk, its title aside."""
    [keys] = entities(title, text, [Span(0, len(text))], language)
    return [key for key in keys if key != name_key(title)]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Brújula", "brujula"),
        ("BRÚJULA", "brujula"),
        ("Bru\u0301jula", "brujula"),
        ("Atlas's", "atlas"),
        ("Atlas’s", "atlas"),
        ("  Quill\n Room ", "quill room"),
        ("Next.js", "next.js"),
        ("C++", "c++"),
        ("Marsh-Pell", "marsh-pell"),
        ("Σίσυφος", "σισυφοσ"),
        ("東京", "東京"),
        ("", ""),
        ("!?", ""),
        ("one two three four five", ""),
        ("x" * (MAX_NAME_CHARS + 1), ""),
    ],
)
def test_a_name_has_one_key_in_every_writing(name: str, key: str) -> None:
    assert name_key(name) == key


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("It reuses the Pebble design system.", "en", ["pebble"]),
        ("Yesterday we met Maren Solvik in town.", "en", ["maren solvik"]),
        ("Maren Solvik led it.", "en", ["maren solvik"]),
        ("The Ministry of Finance paid Acme's bill.", "en", ["ministry of finance", "acme"]),
        ("Workers wait. Nobody knows why.", "en", []),
        ("Ledger is used here. Later Ledger was sold.", "en", ["ledger"]),
        ("Ledger waits. It is called Ledger.", "en", ["ledger"]),
        ("In March and on Thursday it rained.", "en", []),
        ("Yesterday Maren Solvik spoke; then Maren Solvik left.", "en", ["maren solvik"]),
        ("It needs Python 3.12 and React 18", "en", ["python", "python 3.12", "react", "react 18"]),
        ("The setting chunk_chars and a BackendError", "en", ["chunk_chars", "backenderror"]),
        ("Text in `spam eggs` and \u201cBlack Swan\u201d", "en", ["spam eggs", "black swan"]),
        ("It meets WCAG at level AA.", "en", ["wcag", "aa"]),
        ("Trabaja en el Ministerio de la Vivienda.", "es", ["ministerio de la vivienda"]),
        ("Lo hizo José de la Torre.", "es", ["jose de la torre"]),
        ("Con ONNX Runtime y FastAPI.", "es", ["onnx runtime", "fastapi"]),
        ("Los conservadores dicen «hierro forjado».", "es", ["hierro forjado"]),
        ("Die Katze sah den Hund bei Karl Marx und IBM.", "de", ["karl marx", "ibm"]),
        ("Он работает в Газпроме с Иваном.", "ru", ["газпроме", "иваном"]),
        ("東京は日本の首都です。", "ja", []),
        ("مرحبا بالعالم", "ar", []),
        ("THIS IS ALL SHOUTED FROM THE FIRST WORD TO LAST.", "en", []),
        ("A" * 900, "en", []),
        ("Ab" * 450, "en", []),
        ("", "en", []),
        ("\ud800 Bob", "en", ["bob"]),
    ],
)
def test_what_is_a_name(text: str, language: str, expected: list[str]) -> None:
    assert sorted(names(text, language=language)) == sorted(expected)


def test_a_title_counts_for_every_chunk_and_in_its_short_form() -> None:
    text = "Pebble is nice.\n\nNothing here.\n\n# Refund policy\n\nWithin days."
    spans = [Span(0, 15), Span(17, 30), Span(32, len(text))]
    found = entities("Pebble Design System", text, spans, "en")
    assert found == [
        ["pebble design system", "pebble"],
        ["pebble design system", "pebble"],
        ["pebble design system", "pebble", "refund policy"],
    ]


def test_a_heading_counts_for_the_chunks_below_it() -> None:
    text = "# Refund policy\n\nWithin days.\n\nOr weeks."
    spans = [Span(0, 29), Span(31, len(text))]
    found = entities("untitled", text, spans, "en")
    assert found == [["untitled", "refund policy"]] * 2


def test_frequent_names_come_first_and_a_chunk_has_so_many_at_most() -> None:
    text = ", ".join(["see Zeta and Zeta", *(f"the Name{chr(97 + n // 26)}{chr(97 + n % 26)}"
                                             for n in range(100))])  # fmt: skip
    found = names(text)
    assert found[0] == "zeta"
    assert len(found) == MAX_NAMES_PER_CHUNK - 1  # and the title


@pytest.mark.parametrize(
    "text",
    ["A" * 900, "Aa " * 300, "a_" * 450, "«" * 900, "`" * 900, "de la " * 150, "A de " * 180,
     "A.b" * 300, "\n# " * 300, "A-" * 450, "«" + "a" * 898],
)  # fmt: skip
def test_texts_that_no_rule_was_made_for(text: str) -> None:
    for long in (text, text * 50):
        spans = split(long, 900) or [Span(0, len(long))]
        for keys in entities("untitled", long, spans, "en"):
            assert len(keys) <= MAX_NAMES_PER_CHUNK
            assert all(0 < len(key) <= MAX_NAME_CHARS for key in keys)


def test_every_name_of_a_document_can_be_asked_for_in_any_case() -> None:
    text = "Ask Noor Halvani of the Bank of Spain about Brújula's API v2.1 and «Casa de Campo»."
    found = names(text)
    assert "casa de campo" in found
    for question in (text, text.lower(), text.upper()):
        assert set(found) <= set(candidate_keys(question))


def test_spans_in_order_get_their_own_names() -> None:
    text = "\n\n".join(f"We met Agent{n} there, and that was {'very ' * 40}nice." for n in range(9))
    spans = split(text, 300)
    found = entities("untitled", text, spans, "en")
    for span, keys in zip(spans, found, strict=True):
        inside = [f"agent{n}" for n in range(9) if f"Agent{n}" in text[span.start : span.end]]
        assert keys == ["untitled", *inside]
