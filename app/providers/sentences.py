"""Splits a passage into sentences that can be quoted: each is a verbatim part of its text.

Markdown's markers are left out at the edges (`# `, `- `, `1. `, `> `), nothing inside is changed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# What may stand before a line's own words.
_MARKER = re.compile(r"[ \t]*(?:(?:#{1,6}|[-*+•>]|\d{1,3}[.)])[ \t]+|>)*[ \t]*")
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]+\S")
_ITEM = re.compile(r"[ \t]*(?:[-*+•>]|\d{1,3}[.)])[ \t]+\S|[ \t]*\|")
_RULE = re.compile(r"[\s|:=*_-]*")
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
# The end of a sentence: its mark, closing quotes, then space before what can begin another.
_END = re.compile(r"""[.!?…]+["'”’»)\]]*(?=\s+["'“‘«(\[*_¿¡]*[^\W_a-zß-öø-ÿ])|[。！？]""")
_WORD_BEFORE = re.compile(r"[^\s(«“\"'¿¡]+\Z")
_ABBREVIATIONS = (
    "mr mrs ms dr prof st jr sr vs etc e.g i.e cf al fig no nos vol pp ed eds inc ltd co corp dept "
    "approx ca gen col lt sgt rev gov sen rep mt jan feb mar apr jun jul aug sept sep oct nov dec "
    "p.ej ej sra sres dra d dña ud uds vd pág págs núm art cap fig aprox avda ee ee.uu av lic ing "
    "arq máx mín tel"
)
_ABBREVIATION_WORDS = frozenset(_ABBREVIATIONS.split())


@dataclass(frozen=True, slots=True)
class Sentence:
    """`text` is exactly the passage's characters `start:end`; `heading` what it stands under."""

    text: str
    start: int
    end: int
    heading: str = ""


def split_sentences(text: str) -> list[Sentence]:
    """The sentences of a passage in order; headings, code and rules are not sentences."""
    sentences: list[Sentence] = []
    heading = ""
    for start, end in _blocks(text):
        if _HEADING.match(text, start, end):
            heading = text[_MARKER.match(text, start).end() : end].strip()  # type: ignore[union-attr]
            continue
        for first, last in _sentences(text, start, end):
            sentences.append(Sentence(text[first:last], first, last, heading))
    return sentences


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Runs of lines that read on: a heading, a list item, a table row or a blank line ends one."""
    begin: int | None = None
    end = 0
    fenced = False
    position = 0
    for line in text.splitlines(keepends=True):
        start, position = position, position + len(line)
        fence = _FENCE.match(line) is not None
        alone = fence or fenced or _HEADING.match(line) is not None
        blank = fence or fenced or _RULE.fullmatch(line) is not None
        if begin is not None and (alone or blank or _ITEM.match(line)):
            yield begin, end
            begin = None
        fenced ^= fence
        if blank:
            continue
        if alone:
            yield start, position
            continue
        begin, end = (start if begin is None else begin), position
    if begin is not None:
        yield begin, end


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The spans of a block's sentences, without the block's marker and the space around."""
    marker = _MARKER.match(text, start, end)
    begin = marker.end() if marker else start
    for match in _END.finditer(text, begin, end):
        if not _is_abbreviation(text, begin, match.start(), match.group()):
            yield from _trimmed(text, begin, match.end())
            begin = match.end()
    yield from _trimmed(text, begin, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    end -= len(inner) - len(inner.rstrip())
    if any(char.isalnum() for char in text[start:end]):
        yield start, end


def _is_abbreviation(text: str, begin: int, stop: int, mark: str) -> bool:
    """True where the full stop at `stop` belongs to "Dr.", "p. ej." or an initial like "J."."""
    if mark != ".":
        return False
    before = _WORD_BEFORE.search(text, begin, stop)
    if before is None:
        return False
    word = before.group()
    return word.lower() in _ABBREVIATION_WORDS or (len(word) == 1 and word.isupper())
