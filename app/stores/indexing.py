"""Putting a text with its chunks and vectors in the place of a document's former ones."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from app.ingest.ports import IndexedChunk, Upload
from app.stores.acceptance import content_hash
from app.stores.encoders import EncoderRow

# Rows for one statement: half a second of HNSW insertion at worst, well within its timeout.
CHUNKS_A_STATEMENT = 200

# Pending still, if a later text of it waits already.
REPLACE = """
UPDATE documents d
   SET title = $3, text = $4, metadata = $5, language = $6, content_hash = $7, revision = $2,
       chunk_count = $8, error = NULL, updated_at = now(),
       status = CASE WHEN EXISTS (
           SELECT FROM document_uploads u WHERE u.document_id = d.id AND u.id > $2
       ) THEN 'pending' ELSE 'indexed' END
 WHERE id = $1
"""
# The vectors explicitly: the cascade would look for them chunk by chunk.
CLEAR_VECTORS = """
DELETE FROM rag_embedding
 WHERE portfolio_id = $1 AND chunk_id IN (SELECT id FROM rag_chunk WHERE document_id = $2)
"""
CLEAR_CHUNKS = "DELETE FROM rag_chunk WHERE document_id = $1"
INSERT_CHUNKS = """
WITH given AS (
    SELECT * FROM unnest($6::integer[], $7::integer[], $8::integer[], $9::text[], $10::halfvec[])
        AS g(ordinal, start_char, end_char, text, embedding)
), stored AS (
    INSERT INTO rag_chunk (tenant_id, portfolio_id, document_id, ordinal, start_char, end_char,
                           text, language, tsv)
    SELECT $1, $2, $3, ordinal, start_char, end_char, text, $4, chunk_tsv($4, $11, text)
      FROM given
    RETURNING id, ordinal
)
INSERT INTO rag_embedding (portfolio_id, chunk_id, encoder_id, tenant_id, embedding)
SELECT $2, stored.id, $5, $1, given.embedding FROM stored JOIN given USING (ordinal)
"""


async def replace_text(
    connection: asyncpg.Connection, upload: Upload, language: str, chunk_count: int
) -> None:
    await connection.execute(CLEAR_VECTORS, upload.portfolio_id, upload.document_id)
    await connection.execute(CLEAR_CHUNKS, upload.document_id)
    await connection.execute(
        REPLACE,
        upload.document_id,
        upload.id,
        upload.title,
        upload.text,
        dict(upload.metadata),
        language,
        content_hash(upload.title, upload.text),
        chunk_count,
    )


def _columns(
    start: int, chunks: Sequence[IndexedChunk], vectors: Sequence[Any]
) -> tuple[Sequence[Any], ...]:
    return (
        range(start, start + len(chunks)),
        [chunk.span.start for chunk in chunks],
        [chunk.span.end for chunk in chunks],
        [chunk.text for chunk in chunks],
        vectors,
    )


async def _insert(
    connection: asyncpg.Connection,
    upload: Upload,
    language: str,
    encoder: EncoderRow,
    columns: tuple[Sequence[Any], ...],
) -> None:
    await connection.execute(
        INSERT_CHUNKS,
        upload.scope.tenant_id,
        upload.portfolio_id,
        upload.document_id,
        language,
        encoder.id,
        *columns,
        upload.title,
    )
