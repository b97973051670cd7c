"""The CPU's part of indexing one document: language, spans, and what the encoder reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.ingest.chunk import encoder_text, heading_paths, split
from app.ingest.ports import IndexedChunk, Span, Upload

# A language shows within the first page; detection's time grows with the text.
LANGUAGE_SAMPLE_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document cut and ready to encode; `to_encode` has one text for each span."""

    language: str
    spans: Sequence[Span]
    to_encode: Sequence[str]


def prepare(upload: Upload, chunk_chars: int, detect: Callable[[str], str]) -> Prepared:
    """Cut an upload's text. Takes seconds for 10 MB: run it in a thread."""
    text = upload.text
    spans = split(text, chunk_chars)
    paths = heading_paths(text, spans)
    return Prepared(
        language=detect(text[:LANGUAGE_SAMPLE_CHARS]),
        spans=spans,
        to_encode=[
            encoder_text(upload.title, text[span.start : span.end], path)
            for span, path in zip(spans, paths, strict=True)
        ],
    )


def indexed(
    text: str, spans: Sequence[Span], vectors: Sequence[Sequence[float]]
) -> list[IndexedChunk]:
    """The chunks to store: each exactly the document's text at its span."""
    return [
        IndexedChunk(span=span, text=text[span.start : span.end], vector=vector)
        for span, vector in zip(spans, vectors, strict=True)
    ]
