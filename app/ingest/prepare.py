"""The CPU's part of indexing one document: language, spans, and what the encoder reads."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from app.ingest.chunk import encoder_text, heading_paths
from app.ingest.cutting import Cut, cut_text
from app.ingest.pairs import Piece
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
    """Cut an upload's text. Takes seconds for 10 MB, and what a text that means harm makes of it:
    a service has it done in a confined process (`app.ingest.workshop`)."""
    language = detect(upload.text[:LANGUAGE_SAMPLE_CHARS])
    made = cut_text(upload.title, upload.text, upload.metadata, language, chunk_chars)
    return prepared(upload, language, made)


async def prepare_here(upload: Upload, chunk_chars: int, detect: Callable[[str], str]) -> Prepared:
    """The same in a thread, for texts that are trusted."""
    return await asyncio.to_thread(prepare, upload, chunk_chars, detect)


def prepared(upload: Upload, language: str, made: Cut) -> Prepared:
    """The upload's text in the pieces that it was found to have."""
    text = upload.text
    spans = [piece.span for piece in made.pieces]
    return Prepared(
        language=language,
        chunks=cut(text, made.pieces, made.names),
        to_encode=encoder_texts(upload.title, text, spans, made.paths),
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
    return encoder_texts(title, text, spans, heading_paths(text, spans))


def encoder_texts(
    title: str, text: str, spans: Sequence[Span], paths: Sequence[Sequence[str]]
) -> list[str]:
    """The same where the headings above each span are known."""
    return [
        encoder_text(title, text[span.start : span.end], path)
        for span, path in zip(spans, paths, strict=True)
    ]
