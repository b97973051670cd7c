"""Cut a text into chunks with exact character spans, and say what the encoder reads of each."""

from collections.abc import Iterator, Sequence

import structlog
from semantic_text_splitter import MarkdownSplitter, TextSplitter

from app.ingest.markdown import Heading, headings, is_heading, segments
from app.ingest.ports import Span

log = structlog.get_logger(__name__)

# A piece this short says too little on its own to be found or to be cited.
MIN_CHUNK_CHARS = 60
# A heading joins the text below it even where both are a little more than a chunk; MiniLM reads
# about 1,000 characters, so 900 and 15 % still fit for the most part.
MERGE_ALLOWANCE_PERCENT = 15


def longest(chunk_chars: int) -> int:
    """No chunk has more characters than this."""
    return chunk_chars + chunk_chars * MERGE_ALLOWANCE_PERCENT // 100


def split(text: str, chunk_chars: int) -> list[Span]:
    """Spans in order, without overlap, that hold every visible character of the text.

    They follow Markdown's structure: sections, blocks, sentences, words. None is longer than
    `longest(chunk_chars)`; a heading stands with the text below it.
    """
    cut = (
        Span(start + offset, start + offset + len(piece))
        for start, end in segments(text)
        for offset, piece in pieces(text[start:end], chunk_chars)
    )
    return merge(text, cut, longest(chunk_chars))


def pieces(text: str, chunk_chars: int) -> list[tuple[int, str]]:
    """Offsets and pieces of at most `chunk_chars`, along Markdown's structure.

    The Markdown parser (text-splitter's, in Rust) panics on rare broken markup, found by fuzzing:
    "invalid character sequence". Such a text is cut by sentences and words instead.
    """
    try:
        return MarkdownSplitter(chunk_chars).chunk_indices(text)
    except BaseException as error:  # a Rust panic is no Exception, and its class has no import
        if type(error).__name__ != "PanicException":
            raise
        log.warning("markdown_not_parsed", chars=len(text))
        return TextSplitter(chunk_chars).chunk_indices(text)


def merge(text: str, pieces: Iterator[Span], limit: int) -> list[Span]:
    """Join what should not stand alone to its neighbour, as long as both fit into `limit`.

    A heading goes with what follows it, a short rest with what came before.
    """
    merged: list[Span] = []
    for piece in pieces:
        if merged and piece.end - merged[-1].start <= limit and belong(text, merged[-1], piece):
            merged[-1] = Span(merged[-1].start, piece.end)
        else:
            merged.append(piece)
    if len(merged) > 1 and is_slight(text, merged[-1]):
        before, last = merged[-2:]
        if last.end - before.start <= limit:
            merged[-2:] = [Span(before.start, last.end)]
    return merged


def belong(text: str, before: Span, after: Span) -> bool:
    """Whether one of two neighbours is too slight to stand without the other."""
    return is_slight(text, before) or (
        is_slight(text, after) and not is_heading(text[after.start : after.end])
    )


def is_slight(text: str, span: Span) -> bool:
    """Very short, or nothing but headings."""
    if span.end - span.start < MIN_CHUNK_CHARS:
        return True
    lines = text[span.start : span.end].split("\n")
    return all(is_heading(line) or not line.strip() for line in lines)


def heading_paths(text: str, spans: Sequence[Span]) -> list[list[str]]:
    """For each span the titles of the headings it stands under, outermost first; a heading that
    it begins with itself is not among them."""
    paths: list[list[str]] = []
    above: list[Heading] = []
    upcoming = headings(text)
    following = next(upcoming, None)
    for span in spans:
        while following is not None and following.start < span.start:
            above = [*enclosing(above, following), following]
            following = next(upcoming, None)
        under: Sequence[Heading] = above
        if following is not None and following.start == span.start:
            under = enclosing(above, following)
        paths.append([heading.title for heading in under])
    return paths


def enclosing(above: Sequence[Heading], heading: Heading) -> list[Heading]:
    """Those of the open headings that a new one does not close."""
    return [other for other in above if other.level < heading.level]


def encoder_text(title: str, text: str, headings: Sequence[str]) -> str:
    """What is encoded for a chunk: its document's title and the headings above it, each on a
    line, then the chunk. A heading that repeats the title is left out."""
    above = [heading for heading in headings if heading != title]
    return "\n".join([title, *above, text])
