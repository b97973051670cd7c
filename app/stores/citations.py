"""A citation as it is stored."""

from typing import Any

from app.chat.model import Citation


def citation(row: Any) -> Citation:
    """From a row of asyncpg's or SQLAlchemy's."""
    value = dict(getattr(row, "_mapping", row))
    return Citation(
        number=value["number"],
        document_id=value["document_id"],
        chunk_id=value["chunk_id"],
        title=value["title"],
        uri=value["uri"],
        quote=value["quote"],
        start=value["start_char"],
        end=value["end_char"],
        score=value["score"],
    )
