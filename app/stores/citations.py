"""A citation as it is stored."""

from collections.abc import Mapping
from typing import Any

from app.chat.model import Citation


def citation(row: Mapping[str, Any]) -> Citation:
    return Citation(
        number=row["number"],
        document_id=row["document_id"],
        chunk_id=row["chunk_id"],
        title=row["title"],
        uri=row["uri"],
        quote=row["quote"],
        start=row["start_char"],
        end=row["end_char"],
        score=row["score"],
    )
