"""The CPU's part of indexing one document: language, spans, and what the encoder reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from app.ingest.chunk import encoder_text, heading_paths, split
from app.ingest.entities import entities
from app.ingest.pairs import Piece, is_list_of_pairs, split_pairs
from app.ingest.ports import IndexedChunk, Span, Upload

# A language shows within the first page; detection's time grows with the text.
LANGUAGE_SAMPLE_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document cut and ready to encode; `to_encode` has one text for each chunk."""

    language: str
    chunks: Sequence[IndexedChunk]
    to_encode: Sequence[str]


def prepare(upload: Upload, chunk_chars: int, detect: Callable[[str], str]) -> Prepared:
    """Cut an upload's text. Takes seconds for 10 MB: run it in a thread."""
    text = upload.text
    if is_list_of_pairs(upload.metadata):
        pieces = split_pairs(upload.title, text, chunk_chars)
    else:
        pieces = [Piece(span, None) for span in split(text, chunk_chars)]
    spans = [piece.span for piece in pieces]
    language = detect(text[:LANGUAGE_SAMPLE_CHARS])
    return Prepared(
        language=language,
        chunks=cut(text, pieces, entities(upload.title, text, spans, language)),
        to_encode=to_encode(upload.title, text, spans),
    )


def cut(text: str, pieces: Sequence[Piece], names: Sequence[Sequence[str]]) -> list[IndexedChunk]:
    """The chunks of a text, each with its names and what stands between it and the next."""
    chunks = []
    for piece, following, inside in zip_longest(pieces, pieces[1:], names):
        span = piece.span
        tail = text[span.end : following.span.start] if following else ""
        chunks.append(IndexedChunk(span, text[span.start : span.end], tail, inside, piece.question))
    return chunks


def to_encode(title: str, text: str, spans: Sequence[Span]) -> list[str]:
    """What the encoder reads for each span of a document's text; spans are in its order."""
    paths = heading_paths(text, spans)
    return [
        encoder_text(title, text[span.start : span.end], path)
        for span, path in zip(spans, paths, strict=True)
    ]
