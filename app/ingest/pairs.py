"""Documents that are lists of questions with answers, or of terms with definitions.

`kind` in a document's metadata says so (Markdown's front matter can set it): `faq` or `glossary`.
Each pair becomes a chunk of its own, or several where its answer is long.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.ingest.chunk import split
from app.ingest.markdown import headings, plain
from app.ingest.ports import Span

KINDS = ("faq", "glossary")
# "Q: …", "**P1.** …", "Question 3: …" at the start of a line; the answer goes on to the next one.
ASKED = re.compile(
    r"^[ \t>*_-]*(?:Q|P|Question|Pregunta)[ \t]*\d*[ \t]*[.:)][*_]*[ \t]*(?P<question>\S[^\n]*)$",
    re.MULTILINE | re.IGNORECASE,
)
# "**Term**: …", "- **Term** — …", "**Term:** …"
DEFINED = re.compile(
    r"^[ \t]*(?:[-*+][ \t]+)?\*\*(?P<question>[^*\n:]{1,200})(?::\*\*|\*\*[ \t]*[:–—-])",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk's place, and the question or term that it answers; None for what is no pair."""

    span: Span
    question: str | None


def is_list_of_pairs(metadata: Mapping[str, Any]) -> bool:
    return metadata.get("kind") in KINDS


def split_pairs(title: str, text: str, chunk_chars: int) -> list[Piece]:
    """The chunks of a list of pairs, in order; none holds parts of two. A text in which no pairs
    are marked answers its title."""
    starts = _starts(text) or [(0, title)]
    bounds = [*(start for start, _ in starts), len(text)]
    sections: list[tuple[str | None, int, int]] = [(None, 0, bounds[0])]
    sections += [
        (question, start, end) for (start, question), end in zip(starts, bounds[1:], strict=True)
    ]
    return [
        Piece(Span(start + each.start, start + each.end), question)
        for question, start, end in sections
        for each in split(text[start:end], chunk_chars)
    ]


def _starts(text: str) -> Sequence[tuple[int, str]]:
    """Where each pair begins, with its question; by the first way of marking that the text uses
    more than once."""
    asked, defined = (
        [(found.start(), plain(found["question"]).strip()) for found in way.finditer(text)]
        for way in (ASKED, DEFINED)
    )
    sections = _sections(text)
    return next((each for each in (asked, defined, sections) if len(each) > 1), sections)


def _sections(text: str) -> list[tuple[int, str]]:
    """The headings that have a text of their own; one with nothing but further headings below it
    is a group's name."""
    found = list(headings(text))
    ends = [*(each.start for each in found[1:]), len(text)]
    return [
        (heading.start, heading.title)
        for heading, end in zip(found, ends, strict=False)  # without headings there is one end
        if text[heading.start : end].partition("\n")[2].strip()
    ]
