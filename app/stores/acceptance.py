"""Whether a text on its way in is new, replaces a document, or is what is there already."""

import hashlib
from collections.abc import Mapping
from typing import Any

import asyncpg

from app.chat.model import Scope
from app.ingest.ports import Accepted, NewDocument

CREATE = """
INSERT INTO documents (tenant_id, portfolio_id, title, uri, metadata, content_hash)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING id
"""
FIND = """
SELECT id, status = 'indexed' AND content_hash = $3 AND metadata = $4 AS unchanged
  FROM documents
 WHERE portfolio_id = $1 AND {identity} FOR NO KEY UPDATE
"""
FIND_BY_URI = FIND.format(identity="uri = $2")
FIND_BY_CONTENT = FIND.format(identity="uri IS NULL AND $2::text IS NULL AND content_hash = $3")
UPLOAD = """
INSERT INTO document_uploads
    (tenant_id, portfolio_id, document_id, title, uri, text, metadata, content_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
"""
WAITS = "UPDATE documents SET status = 'pending', error = NULL, updated_at = now() WHERE id = $1"


def content_hash(title: str, text: str) -> bytes:
    """SHA-256 over title and text, which NUL parts because neither can hold one."""
    return hashlib.sha256(f"{title}\0{text}".encode("utf-8", "surrogatepass")).digest()


def lock_key(document: NewDocument) -> tuple[bool, str, str, str]:
    """Documents of one identity keep their order (sorting is stable); others get one that all
    callers share, so that two of them never hold what the other waits for."""
    if document.uri is not None:
        return (True, document.uri, "", "")
    return (False, "", document.title, document.text)


async def accept_document(
    connection: asyncpg.Connection, scope: Scope, portfolio_id: int, document: NewDocument
) -> Accepted:
    """Find or create the document and store an upload of it, unless it is unchanged."""
    digest, metadata = content_hash(document.title, document.text), dict(document.metadata)
    document_id, unchanged = await _identify(
        connection, scope, portfolio_id, document, digest, metadata
    )
    if unchanged:
        return Accepted(document_id, "unchanged", None)
    upload_id = await connection.fetchval(
        UPLOAD, scope.tenant_id, portfolio_id, document_id, document.title, document.uri,
        document.text, metadata, digest,
    )  # fmt: skip
    if unchanged is None:
        return Accepted(document_id, "created", upload_id)
    await connection.execute(WAITS, document_id)
    return Accepted(document_id, "replaced", upload_id)


async def _identify(
    connection: asyncpg.Connection,
    scope: Scope,
    portfolio_id: int,
    document: NewDocument,
    digest: bytes,
    metadata: Mapping[str, Any],
) -> tuple[int, bool | None]:
    """The document's id, locked, and whether it is unchanged; None where it is new."""
    find = FIND_BY_CONTENT if document.uri is None else FIND_BY_URI
    create = scope.tenant_id, portfolio_id, document.title, document.uri, metadata, digest
    while True:  # what another created is found; what yet another then deleted is created again
        found = await connection.fetchrow(find, portfolio_id, document.uri, digest, metadata)
        if found is not None:
            return found["id"], found["unchanged"]
        if (created := await connection.fetchval(CREATE, *create)) is not None:
            return created, None
