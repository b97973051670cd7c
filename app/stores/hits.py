"""A chunk as the database's search functions return it: all of them end in `chunk_hits`."""

import asyncpg

from app.retrieval.ports import Hit


def hit(record: asyncpg.Record) -> Hit:
    """From a row of `chunk_hits`."""
    return Hit(
        chunk_id=record["chunk_id"],
        document_id=record["document_id"],
        title=record["title"],
        uri=record["uri"],
        text=record["text"],
        start=record["start_char"],
        end=record["end_char"],
        language=record["language"],
        score=record["score"],
        ordinal=record["ordinal"],
        tail=record["tail"],
    )
