from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.citations import CitationDecoder
from app.chat.model import Passage
from app.chat.quotes import sentence_spans

DOCUMENT = (
    "Atlas is the dashboard of the logistics team. It was written in React and TypeScript by "
    "Ana Torres. Positions are kept for thirty days in Postgres, e.g. those of trucks.\n\n"
    "- Beacon sends alerts by e-mail.\n- Beacon was started in 2021!\n\nNobody maintains Comet"
)


def passage(number: int = 1, start: int = 0, end: int = len(DOCUMENT)) -> Passage:
    return Passage(
        number=number,
        chunk_id=100 + number,
        document_id=7,
        title="Projects",
        uri="file:projects.md",
        text=DOCUMENT[start:end],
        start=start,
        end=end,
        score=0.5,
    )


def decoded(text: str, numbers: set[int] | None = None, size: int | None = None) -> str:
    decoder = CitationDecoder({1, 2, 3} if numbers is None else numbers)
    step = size or max(1, len(text))
    pieces = [p for i in range(0, len(text), step) for p in decoder.feed(text[i : i + step])]
    return "".join(pieces + decoder.flush())


def quotes(answer: str, *passages: Passage) -> dict[int, str]:
    decoder = CitationDecoder({each.number for each in passages})
    decoder.feed(answer)
    decoder.flush()
    return {found.number: found.quote for found in decoder.citations(passages)}


UNTOUCHED = [
    "",
    "Plain text.",
    "A fact [1].",
    "A fact[1] and [2], also [1][2], [1, 2], [1,2], [1; 3], [1-3], [1–2] and 【2】.",
    "word[1]",
    "[1]",
    "[ 1 ]",
    "[text](https://example.org/[1])",
    "[99](https://example.org)",
    "![99](image.png)",
    "footnote[^99]",
    "- [ ] open\n- [x] done",
    "[[1]]",
    "see [Smith 2020] and [2020]",
    "`a[9]` and ``b[9] ` c[8]`` and arr[0]",
    "```python\na[9] = b[8]\n```\nThen [1].",
    "~~~\na[9]\n~~~\n",
    "~~struck~~ [1]",
    "````\n```\na[9]\n```\n````\n[1]",
    "1. ```\n   a[9]\n   ```\n   [1]",
    "```a[9]``` [1]",
    "```\na[9]\n```not a fence's end [9]\n",
    r"\[9\] and \(x\) and \\ [1]",
    "values in [0, 1], [0-9], [1-100] or [9-8]",
    "unfinished [1",
    "unfinished [99, ",
    "[1 apple]",
    "[,1]",
    "[1,]",
    "[]",
    "two  spaces  stay , as does this .",
    "trailing space ",
    "[" + "1, " * 40 + "1]",
]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_passes_through_unchanged(text: str) -> None:
    assert decoded(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A fact [99].", "A fact."),
        ("A fact. [99]", "A fact."),
        ("A fact [99] and more", "A fact and more"),
        ("A fact[99] and more", "A fact and more"),
        ("A fact [99], more", "A fact, more"),
        ("A fact [99]\nMore", "A fact\nMore"),
        ("A fact [98][99].", "A fact."),
        ("A fact [98] [99].", "A fact."),
        ("A fact [99][1].", "A fact [1]."),
        ("A fact [1][99].", "A fact [1]."),
        ("A fact [99] [1].", "A fact [1]."),
        ("A fact [1, 99].", "A fact [1]."),
        ("A fact [99, 2, 98, 3].", "A fact [2, 3]."),
        ("A fact [2-5].", "A fact [2, 3]."),
        ("A fact 【99】.", "A fact."),
        ("A fact 【1, 99】.", "A fact 【1】."),
        ("(see [99])", "(see)"),
        ("array[99]", "array"),
        (r"\\[99]", r"\\"),
        ("`code` [99] `b`", "`code` `b`"),
        ("a stray ` tick [9]\nand [99].", "a stray ` tick [9]\nand."),
        ("```\na[9]\n```\n[99] Then", "```\na[9]\n```\n Then"),
        ("[99][text](url)", "[text](url)"),
        ("2 [99]%", "2 %"),
        ("the `simples’ of old. [99] Next [1].", "the `simples’ of old. Next [1]."),
        ("``` `a` [98]``` [99]", "``` `a` [98]```"),
    ],
)
def test_an_invented_citation_never_reaches_the_reader(text: str, expected: str) -> None:
    for size in (None, 1, 2, 3, 5):
        assert decoded(text, size=size) == expected


@pytest.mark.parametrize("text", UNTOUCHED)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_split_changes_nothing(text: str, size: int) -> None:
    assert decoded(text, size=size) == text


def test_text_is_passed_on_as_it_comes() -> None:
    decoder = CitationDecoder({1})
    assert decoder.feed("The projects") == ["The projects"]
    assert decoder.feed("") == []
    assert decoder.feed(" in") == [" in"]
    assert decoder.feed(" React [see") == [" React [see"]
    assert decoder.feed(" ") == []
    assert decoder.feed("[") == []
    assert decoder.feed("1") == []
    assert decoder.feed("]") == []
    assert decoder.feed(".") == [" [1]."]
    assert decoder.feed(" [2]") == []
    assert decoder.feed(" next") == [" next"]
    assert decoder.flush() == []


def test_little_is_withheld_and_never_for_long() -> None:
    decoder = CitationDecoder({1})
    text = "x [" + "1, " * 100
    passed = "".join(piece for char in text for piece in decoder.feed(char))
    assert len(text) - len(passed) <= 1
    assert decoder.flush() == [text[len(passed) :]]


PIECES = st.sampled_from(
    ["[", "]", "1", "2", "99", "9", ",", ", ", "-", " ", "  ", "\n", "`", "```", "~~~", "\\", "(",
     ")", "^", "x", "word", "Ana Torres.", ".", "【", "】", "0", "[1]", " [99]", "[1, 99]", "- "]
)  # fmt: skip
ANSWERS = st.one_of(st.lists(PIECES, max_size=25).map("".join), st.text(max_size=40))


@given(ANSWERS, st.lists(st.integers(0, 60), max_size=12))
def test_any_split_gives_the_same_answer(text: str, cuts: list[int]) -> None:
    whole, split = CitationDecoder({1, 2}), CitationDecoder({1, 2})
    expected = "".join(whole.feed(text) + whole.flush())
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [piece for start, end in pairwise(places) for piece in split.feed(text[start:end])]
    pieces += split.flush()
    assert "".join(pieces) == expected
    assert all(pieces)
    passages = [passage(1, 3, 150), passage(2, 100)]
    assert split.citations(passages) == whole.citations(passages)


@given(ANSWERS)
def test_without_brackets_nothing_changes(text: str) -> None:
    plain = text.replace("[", "").replace("【", "")
    assert decoded(plain) == plain


@given(ANSWERS)
def test_with_every_number_known_nothing_changes(text: str) -> None:
    assert decoded(text, set(range(1, 1000))) == text


@given(
    st.text("ab .!\n-*é1", min_size=1, max_size=80),
    st.data(),
    st.lists(st.text("ab .!\n-*é1", max_size=20), max_size=4),
)
def test_a_quote_is_the_documents_own_text(
    document: str, data: st.DataObject, statements: list[str]
) -> None:
    start = data.draw(st.integers(0, len(document) - 1))
    end = data.draw(st.integers(start + 1, len(document)))
    one = Passage(1, 1, 1, "", None, document[start:end], start, end, 1.0)
    decoder = CitationDecoder({1})
    for statement in statements:
        decoder.feed(f"{statement} [1]")
    decoder.flush()
    for citation in decoder.citations([one]):
        assert citation.quote == document[citation.start : citation.end]
        assert start <= citation.start <= citation.end <= end
        assert citation.quote == citation.quote.strip()


def test_a_citation_carries_its_passage() -> None:
    decoder = CitationDecoder({2, 5})
    decoder.feed("It was started in 2021 [5]. Ana wrote it [2], and [5].")
    decoder.flush()
    first, second = decoder.citations([passage(2, 46), passage(5, 100)])
    assert (first.number, second.number) == (5, 2)
    assert (first.chunk_id, first.document_id, first.title, first.uri, first.score) == (
        105,
        7,
        "Projects",
        "file:projects.md",
        0.5,
    )
    assert second.quote == "It was written in React and TypeScript by Ana Torres."
    assert DOCUMENT[second.start : second.end] == second.quote


@pytest.mark.parametrize("sentence", [DOCUMENT[a:b] for a, b in sentence_spans(DOCUMENT)])
def test_a_verbatim_sentence_is_the_quote(sentence: str) -> None:
    plain = sentence.removeprefix("- ")
    for answer in (
        f"{plain} [1]",
        f"The documents say:\n\n- {plain} [1]",
        f"“{plain}” [1]",
        f"**{plain}** [1]",
        f"Something of the model's own. {plain} [1]",
    ):
        assert quotes(answer, passage())[1] in (plain, sentence)


def test_each_marker_stands_behind_its_own_sentence() -> None:
    sentences = [DOCUMENT[a:b] for a, b in sentence_spans(DOCUMENT)]
    answer = f"{sentences[1]} [1] {sentences[0]} [2]"
    assert quotes(answer, passage(1), passage(2)) == {1: sentences[1], 2: sentences[0]}


def test_the_quote_spans_from_the_first_to_the_last_sentence() -> None:
    sentences = [DOCUMENT[a:b] for a, b in sentence_spans(DOCUMENT)]
    answer = f"{sentences[2]} [1] {sentences[0]} [1]"
    assert quotes(answer, passage())[1] == DOCUMENT[: DOCUMENT.index(sentences[3])].rstrip()


@pytest.mark.parametrize(
    ("answer", "quote"),
    [
        (
            "Ana Torres built Atlas with TypeScript [1].",
            "It was written in React and TypeScript by Ana Torres.",
        ),
        ("Trucks' positions stay for thirty days [1]", None),
        ("The alerts go out by mail[1].", "- Beacon sends alerts by e-mail."),
        ("It was started in 2021 [1].", "- Beacon was started in 2021!"),
        ("ATLAS IS THE LOGISTICS DASHBOARD [1]", "Atlas is the dashboard of the logistics team."),
        ("First. Nobody cares for Comet. [1][1]", "Nobody maintains Comet"),
        (
            "Los datos de posición se guardan en Postgres [1].",
            "Positions are kept for thirty days in Postgres, e.g. those of trucks.",
        ),
    ],
)
def test_a_paraphrase_is_quoted_by_the_sentence_that_shares_most(
    answer: str, quote: str | None
) -> None:
    expected = quote or "Positions are kept for thirty days in Postgres, e.g. those of trucks."
    assert quotes(answer, passage())[1] == expected


@pytest.mark.parametrize("answer", ["Wszystko zostało napisane dawno [1].", "[1]", "… [1]"])
def test_without_a_shared_word_the_whole_passage_is_quoted(answer: str) -> None:
    assert quotes(answer, passage(1, 45, 180))[1] == DOCUMENT[45:180].strip()


def test_the_second_of_two_markers_has_the_same_sentence() -> None:
    answer = "Ana Torres built it [1][2]."
    found = quotes(answer, passage(1), passage(2, 40, 120))
    assert found[1] == found[2] == "It was written in React and TypeScript by Ana Torres."


def test_a_stray_backtick_hides_no_citation() -> None:
    text = "It tells how to prepare the `simples’ of old."
    decoder = CitationDecoder({1})
    assert decoder.feed(f"{text} [1] Then") == [f"{text} [1] Then"]
    (citation,) = decoder.citations([Passage(1, 1, 1, "", None, text, 0, len(text), 1.0)])
    assert citation.quote == text


def test_only_accepted_markers_are_cited() -> None:
    assert quotes("A [9], `b[1]`, [1](url), [1", passage()) == {}


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" \n ", []),
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        (
            "Dr. Smith, e.g. J. Smith, wrote it. Yes.",
            ["Dr. Smith, e.g. J. Smith, wrote it.", "Yes."],
        ),
        ("Version 3.14 of example.org. Next", ["Version 3.14 of example.org.", "Next"]),
        (
            "# Title\n\nText over\ntwo lines.\n- a\n- b",
            ["# Title", "Text over\ntwo lines.", "- a", "- b"],
        ),
        ("He said “no.” Then left.", ["He said “no.”", "Then left."]),
        ("¿Qué? ¡Sí! La Sra. Gil vino.", ["¿Qué?", "¡Sí!", "La Sra. Gil vino."]),
        ("1. Install it.\n2. Run it.", ["1. Install it.", "2. Run it."]),
        ("今天。明天。", ["今天。", "明天。"]),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences
