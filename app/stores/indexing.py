"""Putting a text with its chunks and vectors in the place of a document's former ones."""

from collections.abc import Mapping, Sequence

import asyncpg

from app.chat.model import Vector
from app.ingest.errors import EncodersChanged
from app.ingest.ports import IndexedChunk, Upload
from app.stores.acceptance import content_hash
from app.stores.encoders import EncoderRow
from app.stores.graph import insert_mentions
from app.stores.terms import TermChange, add_terms, begin_terms, remove_terms

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
INSERT INTO rag_chunk (tenant_id, portfolio_id, document_id, ordinal, start_char, end_char, text,
                       tail, question, language)
SELECT $1, $2, $3, ordinal, start_char, end_char, text, tail, question, $4
  FROM unnest($5::integer[], $6::integer[], $7::integer[], $8::text[], $9::text[],
              $10::text[]) AS g(ordinal, start_char, end_char, text, tail, question)
"""
INSERT_VECTORS = """
INSERT INTO rag_embedding (portfolio_id, chunk_id, encoder_id, tenant_id, embedding)
SELECT $2, c.id, $4, $1, g.embedding
  FROM unnest($5::integer[], $6::halfvec[]) AS g(ordinal, embedding)
  JOIN rag_chunk c ON c.document_id = $3 AND c.ordinal = g.ordinal
"""


async def replace_content(
    connection: asyncpg.Connection,
    upload: Upload,
    language: str,
    chunks: Sequence[IndexedChunk],
    encoders: Sequence[EncoderRow],
    vectors: Mapping[str, Sequence[Vector]],
) -> TermChange:
    """Make the upload's text, chunks, terms and vectors the document's, in the caller's
    transaction, which has to settle the change of terms.

    EncodersChanged where an encoder's vectors are not there, EncoderUnavailable where one's
    length is not the encoder's dimension.
    """
    if not all(encoder.name in vectors for encoder in encoders):
        raise EncodersChanged
    stored = {
        encoder.id: [encoder.halfvec(vector) for vector in vectors[encoder.name]]
        for encoder in encoders
    }
    change = await clear_chunks(connection, upload.portfolio_id, upload.document_id)
    await connection.execute(
        REPLACE,
        upload.document_id,
        upload.id,
        upload.title,
        upload.text,
        dict(upload.metadata),
        language,
        content_hash(upload.title, upload.text),
        len(chunks),
    )
    owner = (upload.scope.tenant_id, upload.portfolio_id, upload.document_id)
    for start in range(0, len(chunks), CHUNKS_A_STATEMENT):
        part = chunks[start : start + CHUNKS_A_STATEMENT]
        ordinals = range(start, start + len(part))
        columns = map(list, zip(*map(_columns, part), strict=True))
        await connection.execute(INSERT_CHUNKS, *owner, language, ordinals, *columns)
        await insert_mentions(connection, owner, start, part)
        await add_terms(connection, owner, upload.title, ordinals, change)
        for encoder_id, values in stored.items():
            some = values[start : start + CHUNKS_A_STATEMENT]
            await connection.execute(INSERT_VECTORS, *owner, encoder_id, ordinals, some)
    return change


def _columns(chunk: IndexedChunk) -> tuple[int, int, str, str, str | None]:
    """As INSERT_CHUNKS takes them."""
    return chunk.span.start, chunk.span.end, chunk.text, chunk.tail, chunk.question


async def clear_chunks(
    connection: asyncpg.Connection, portfolio_id: int, document_id: int
) -> TermChange:
    """Remove a document's chunks, vectors and terms; the caller settles the change of terms."""
    change = await begin_terms(connection, portfolio_id, document_id)
    await remove_terms(connection, change)
    await connection.execute(CLEAR_VECTORS, portfolio_id, document_id)
    await connection.execute(CLEAR_CHUNKS, document_id)
    return change
