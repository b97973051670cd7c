"""All that indexing finds out about a text by itself: its pieces, their names, their headings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.ingest.chunk import heading_paths, split
from app.ingest.entities import entities
from app.ingest.pairs import Piece, is_list_of_pairs, split_pairs


@dataclass(frozen=True, slots=True)
class Cut:
    """A text's pieces in order, the names in each, and the headings that each stands under."""

    pieces: Sequence[Piece]
    names: Sequence[Sequence[str]]
    paths: Sequence[Sequence[str]]


def cut_text(
    title: str, text: str, metadata: Mapping[str, Any], language: str, chunk_chars: int
) -> Cut:
    """Takes seconds for 10 MB."""
    if is_list_of_pairs(metadata):
        pieces = split_pairs(title, text, chunk_chars)
    else:
        pieces = [Piece(span, None) for span in split(text, chunk_chars)]
    spans = [piece.span for piece in pieces]
    names = entities(title, text, spans, language)
    return Cut(pieces, names, heading_paths(text, spans))
