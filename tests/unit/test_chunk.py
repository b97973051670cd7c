"""Chunks: exact spans that hold every visible character, and headings kept with their text."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.ingest import chunk, markdown
from app.ingest.chunk import encoder_text, heading_paths, is_slight, longest, split
from app.ingest.ports import Span

BLOCKS = ["# ", "## ", "\n", "\n\n", "\r\n", "- ", "1. ", "> ", "```\n", "~~~", "---\n", "==="]
INLINE = ["**", "_", "`", "[a](b)", "<div>", "<!--", "$$", "\\", "|", "\t", " ", "word ", "One. "]
UNICODE = ["😀", "👨‍👩‍👧", "e\u0301", "ñ", "漢字", "\u200b", "\u2028", "\ufeff", "\x1c", "\x85"]
MARKUP = st.sampled_from(BLOCKS + INLINE + UNICODE)
TEXTS = st.lists(MARKUP | st.text(max_size=12), max_size=120).map("".join)


def pieces(text: str, chunk_chars: int) -> list[str]:
    return [text[span.start : span.end] for span in split(text, chunk_chars)]


def check_spans(text: str, spans: list[Span], chunk_chars: int) -> None:
    end = 0
    for span in spans:
        assert end <= span.start < span.end <= len(text)
        assert span.end - span.start <= longest(chunk_chars)
        assert not text[end : span.start].strip()
        end = span.end
    assert not text[end:].strip()


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, chunk_chars=st.sampled_from([10, 60, 300]))
@example("e\u0301" * 100, 10)
@example("\u0301" * 100, 10)
@example("👨‍👩‍👧‍👦" * 30, 10)
@example("line\r\nline\r\n\r\n# H\r\n" * 20, 60)
@example(" \n\t ", 10)
def test_spans_hold_every_visible_character_once(text: str, chunk_chars: int) -> None:
    text = text.encode(errors="ignore").decode()
    check_spans(text, split(text, chunk_chars), chunk_chars)


@settings(max_examples=50, deadline=None)
@given(text=TEXTS)
def test_long_texts_are_cut_in_stretches_without_a_loss(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markdown, "SEGMENT_CHARS", 40)
        stretches = list(markdown.segments(text))
        check_spans(text, split(text, 60), 60)
    assert "".join(text[start:end] for start, end in stretches) == text
    assert all(end - start <= 40 for start, end in stretches)


def test_a_stretch_ends_before_a_heading_where_there_is_one() -> None:
    section = "# Heading\n\n" + "Some words. " * 1000 + "\n\n"
    text = section * 12
    starts = [start for start, _ in markdown.segments(text)]
    assert len(starts) > 2
    assert all(text.startswith("# Heading", start) for start in starts)


WORDS = "Some words of a sentence. " * 11


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n ", []),
        ("One line.", ["One line."]),
        ("# Only a heading", ["# Only a heading"]),
        (f"# A\n\n{WORDS}", [f"# A\n\n{WORDS.strip()}"]),
        (  # a heading alone above a full chunk
            f"# A\n\nIntro to it all. {WORDS}\n\n## B\n\n{WORDS}",
            [f"# A\n\nIntro to it all. {WORDS.strip()}", f"## B\n\n{WORDS.strip()}"],
        ),
        (  # headings in a row
            f"{WORDS}\n\n# A\n\n## B\n\n{WORDS}",
            [WORDS.strip(), f"# A\n\n## B\n\n{WORDS.strip()}"],
        ),
        (f"{WORDS}\n\nThe end.", [f"{WORDS}\n\nThe end."]),  # a short rest
        (f"{WORDS}\n\n# Nothing below", [f"{WORDS}\n\n# Nothing below"]),
    ],
)
def test_nothing_slight_stands_alone(text: str, expected: list[str]) -> None:
    assert pieces(text, 300) == expected


def test_a_long_document_has_no_lone_heading() -> None:
    text = "".join(
        f"{'#' * (n % 3 + 1)} Heading number {n}\n\n{'A sentence with words. ' * (n % 30)}\n\n"
        for n in range(200)
    )
    spans = split(text, 400)
    check_spans(text, spans, 400)
    slight = [span for span in spans if is_slight(text, span)]
    assert slight == []


OUTLINE = """---
title: T
# a comment
---
before
# One *two* ##
a
```
# not a heading
````
b
## [Three](x)
c
# Four
d
Five
====
e
"""


def test_heading_paths() -> None:
    places = {letter: OUTLINE.index(f"\n{letter}\n") + 1 for letter in "abcde"}
    spans = [Span(0, 5), *(Span(start, start + 1) for start in places.values())]
    assert heading_paths(OUTLINE, spans) == [
        [],
        ["One two"],
        ["One two"],
        ["One two", "Three"],
        ["Four"],
        ["Five"],
    ]
    at_heading = OUTLINE.index("## [Three]")
    assert heading_paths(OUTLINE, [Span(at_heading, at_heading + 5)]) == [["One two"]]
    text = "# A\n\n## B\n\n   ## C\n\n# D\n"
    spans = [Span(text.index(letter) - 3, len(text)) for letter in "BC"]
    assert heading_paths(text, spans) == [["A"], ["A"]]
    assert heading_paths(text, [Span(text.index("# D"), len(text))]) == [[]]


def test_what_the_encoder_reads() -> None:
    assert encoder_text("T", "text", []) == "T\ntext"
    assert encoder_text("T", "text", ["T", "Part", "Section"]) == "T\nPart\nSection\ntext"


def test_a_parser_that_panics_costs_the_structure_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    class Panicking:
        def __init__(self, _: int) -> None: ...

        def chunk_indices(self, _: str) -> list[tuple[int, str]]:
            raise PanicException

    monkeypatch.setattr(chunk, "MarkdownSplitter", Panicking)
    check_spans(WORDS, split(WORDS, 100), 100)
