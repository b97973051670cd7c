"""Which part of a passage a statement rests on."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from app.chat.language import fold
from app.chat.patterns.words import ENGLISH, SPANISH

Offsets = tuple[int, int]

# A sentence ends at its punctuation (with closing quotes) before a space, or at an empty line,
# or before a list item or heading.
_MAYBE_END = re.compile(r"[.!?…\n。！？]")  # each end begins with one; a set is quick to find
_SENTENCE_END = re.compile(
    r"[.!?…](?<![.!?…][.!?…])[.!?…]*+[\"'”’»)\]]*+(?=\s)"
    r"|\n\s*\n|\n(?=\s*(?:[-*+#>|]|\d{1,3}[.)]) )|[。！？]"
)
# "e.g. this", "Dr. Smith", "J. Smith", "3. Install": no end, though it looks like one.
_NO_END = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|nos|nº|fig|p|pp|pág|págs|ej|dr|dra|mr|mrs|ms|sr|sra"
    r"|st|prof|inc|ltd|co|art|núm|EE\.UU)|\b[^\W\d_]|(?:^|\n)\s*\d{1,3})\.$",
    re.IGNORECASE,
)
_LONGEST_ABBREVIATION = 12
_WORD = re.compile(r"\w+")
_LIST_PREFIX = re.compile(r"\A[\s>#*+\-–—•|\"'“”‘’«»]*(?:\d{1,3}[.)]\s+)?[\s*_\"'“‘«]*")
_FUNCTION_WORDS = ENGLISH | SPANISH
# Fewer words than these may stand in a passage by chance ("it is", "in 2023").
_VERBATIM_WORDS = 4


def quote_span(text: str, claims: Sequence[str]) -> Offsets:
    """Where in `text` the sentences are that support the claims, from the first to the last.

    A claim is the answer's text up to its marker: what it repeats verbatim is the quote; else
    the sentence that shares most words with its last sentence. Without any shared word, as in
    another language, it is the whole text. Never starts or ends with a space.
    """
    sentences = sentence_spans(text)
    found = [
        span
        for claim in dict.fromkeys(claims)
        if (span := _verbatim(text, sentences, claim) or _most_shared(text, sentences, claim))
    ]
    if not found:
        return _trimmed(text, 0, len(text))
    return min(start for start, _ in found), max(end for _, end in found)


def sentence_spans(text: str) -> list[Offsets]:
    """The text's sentences as offsets, without the space around them; list items, headings and
    paragraphs end one too."""
    spans = []
    start = 0
    for end in _sentence_ends(text):
        first, last = _trimmed(text, start, end)
        if first < last:
            spans.append((first, last))
        start = end
    return spans


def _sentence_ends(text: str) -> Iterator[int]:
    at = 0
    while maybe := _MAYBE_END.search(text, at):
        match = _SENTENCE_END.match(text, maybe.start())
        at = match.end() if match else maybe.end()
        if match and not _NO_END.search(text[max(0, at - _LONGEST_ABBREVIATION) : at]):
            yield at
    yield len(text)


def _verbatim(text: str, sentences: Sequence[Offsets], claim: str) -> Offsets | None:
    """Where the claim's end, from the earliest sentence possible, stands in the text."""
    for start, _ in sentence_spans(claim):
        raw = claim[start:].rstrip()
        for wanted in (raw, _LIST_PREFIX.sub("", raw, count=1).rstrip("*_\"'”’»")):
            place = _find_words(text, wanted)
            if place is None:
                continue
            end = place + len(wanted)
            if (place, end) in sentences or len(_WORD.findall(wanted)) >= _VERBATIM_WORDS:
                # A model that writes "so [1]." leaves the full stop behind its marker.
                return place, end + (text[end : end + 1] in (".", "!", "?"))
    return None


def _find_words(text: str, wanted: str) -> int | None:
    """The first place where `wanted` stands as whole words."""
    if not _WORD.search(wanted):
        return None
    place = text.find(wanted)
    while place >= 0:
        end = place + len(wanted)
        cut_before = wanted[0].isalnum() and text[place - 1 : place].isalnum()
        cut_after = wanted[-1].isalnum() and text[end : end + 1].isalnum()
        if not (cut_before or cut_after):
            return place
        place = text.find(wanted, place + 1)
    return None


def _most_shared(text: str, sentences: Sequence[Offsets], claim: str) -> Offsets | None:
    """The sentence with most of the claim's words, rare ones in this text counting more; the
    earliest of equals."""
    ends = [span for span in sentence_spans(claim) if _WORD.search(claim, *span)]
    if not ends:
        return None
    asked = sorted(_content_words(claim[slice(*ends[-1])]))  # sums have an order
    folded = [fold(text[start:end]) for start, end in sentences]
    shared = [[word for word in asked if _has_word(each, word)] for each in folded]
    spread = Counter(word for words in shared for word in words)
    best, best_score = None, 0.0
    for span, words in zip(sentences, shared, strict=True):
        score = sum(1 + math.log(len(sentences) / spread[word]) for word in words)
        if score > best_score:
            best, best_score = span, score
    return best


def _content_words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(fold(text))) - _FUNCTION_WORDS


def _has_word(text: str, word: str) -> bool:
    """Whether it is one of `_WORD`'s in the text: several times as quick as to find them all."""
    place = text.find(word)
    while place >= 0:
        end = place + len(word)
        if not (_WORD.match(text[place - 1 : place]) or _WORD.match(text[end : end + 1])):
            return True
        place = text.find(word, end)
    return False


def _trimmed(text: str, start: int, end: int) -> Offsets:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
