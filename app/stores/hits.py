"""A chunk as the database's search functions return it: all of them end in `chunk_hits`."""

import asyncpg

from app.retrieval.ports import Hit


def hit(record: asyncpg.Record) -> Hit:
    """From a row of `chunk_hits`, column by column: by name it takes half as long again."""
    chunk, document, title, uri, text, start, end, language, ordinal, tail, score = record
    return Hit(chunk, document, title, uri, text, start, end, language, score, ordinal, tail)
