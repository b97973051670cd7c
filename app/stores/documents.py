"""Documents, and the uploads that wait to become or to replace one.

Whoever writes here locks the portfolio first (against its deletion only, and for writing vectors
against a change of its encoders), then documents, in one order; so no two writers wait for each
other in a circle. Every change of content raises the
portfolio's version in its own transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from app.chat.administration import Page
from app.chat.model import Claim, Scope, Vector
from app.errors import NotFound
from app.ingest.ports import Accepted, Backlog, DocumentRecord, IndexedChunk, NewDocument, Upload
from app.stores.acceptance import accept_document, lock_key
from app.stores.database import Database, checked_id
from app.stores.encoders import encoders_of, hold_encoders
from app.stores.indexing import clear_chunks, replace_content
from app.stores.pages import after_id, page
from app.stores.terms import TermChange, settle_terms

# The portfolio stays while this transaction lasts; its version and counts may change meanwhile.
HOLD_PORTFOLIO = "SELECT id FROM portfolios WHERE id = $1 FOR KEY SHARE"
EXISTS = "SELECT id FROM portfolios WHERE id = $5"

CHANGED = """
UPDATE portfolios
   SET version = version + 1, document_count = document_count + $2, chunk_count = chunk_count + $3,
       length_total = length_total + $4, updated_at = now()
 WHERE id = $1
"""
DROP_UPLOADS = "DELETE FROM document_uploads WHERE document_id = $1 AND id <= $2"
# Of an upload that is still claimed as it was: its attempts count the claims.
DROP_CLAIMED = "DELETE FROM document_uploads WHERE id = $1 AND attempts = $2 RETURNING id"
OFFER_AGAIN = """
UPDATE document_uploads SET claimed_at = NULL WHERE id = $1 AND attempts = $2 RETURNING id
"""
HAND_BACK = """
UPDATE document_uploads SET claimed_at = NULL, attempts = attempts - 1
 WHERE id = $1 AND attempts = $2 RETURNING id
"""
OFFER_LATER = HAND_BACK.replace("NULL", "now()")
# As if it were claimed in four and a half minutes, by whom is away: oldest first, those that only
# wait would otherwise come before all others every half minute. It was no attempt.
LEAVE = """
UPDATE document_uploads SET claimed_at = now() + interval '270 s', attempts = attempts - 1
 WHERE id = $1 AND attempts = $2 RETURNING id
"""

COLUMNS = (
    "id, portfolio_id, title, uri, language, status, error, metadata, chunk_count, created_at, "
    "updated_at"
)
LIST = f"""
SELECT {COLUMNS}, '' AS text FROM documents
 WHERE portfolio_id = $5 AND id > $6 ORDER BY id LIMIT $7
"""  # noqa: S608
GET = f"SELECT {COLUMNS}, text FROM documents WHERE id = $5"  # noqa: S608

MISSING = "There is no such document."
MISSING_PORTFOLIO = "There is no such portfolio."


class PgDocuments:
    """The port `Documents` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(
        self, scope: Scope, portfolio_id: int, documents: Sequence[NewDocument]
    ) -> Sequence[Accepted]:
        """Store the texts durably, all or none, in order. NotFound for the portfolio.

        Two callers at once with one identity make one document and two uploads of it.
        """
        accepted: dict[int, Accepted] = {}
        async with self._database.transaction(scope) as connection:
            await _hold(connection, checked_id(portfolio_id))
            for place, document in sorted(enumerate(documents), key=lambda each: lock_key(each[1])):
                accepted[place] = await accept_document(connection, scope, portfolio_id, document)
        return [accepted[place] for place in range(len(documents))]

    async def count_waiting(self, scope: Scope) -> int:
        """Uploads of the tenant that are not yet indexed."""
        async with self._database.transaction(scope) as connection:
            return int(await connection.fetchval("SELECT count(*) FROM document_uploads"))

    async def backlog(self) -> Backlog:
        """Uploads of all tenants that are not yet indexed."""
        [row] = await self._database.fetch("SELECT * FROM count_waiting_uploads()")
        return Backlog(*row)

    async def claim(self, limit: int, upload_ids: Sequence[int] | None = None) -> Sequence[Upload]:
        """Take waiting uploads of any tenant, oldest first; no two callers get the same one."""
        rows = await self._database.fetch(
            "SELECT * FROM claim_uploads($1, $2) ORDER BY id",
            limit,
            None if upload_ids is None else list(upload_ids),
        )
        return [_upload(row) for row in rows]

    async def keep(self, uploads: Sequence[Upload]) -> None:
        """Renew their claims, but of those that another has claimed since."""
        ids, attempts = [each.id for each in uploads], [each.attempts for each in uploads]
        await self._database.fetch("SELECT keep_uploads($1, $2)", ids, attempts)

    async def encoders(self, upload: Upload) -> Sequence[str]:
        """The serving encoder, then, while the portfolio gets another, that one."""
        async with self._database.transaction(upload.scope) as connection:
            return [row.name for row in await encoders_of(connection, upload.portfolio_id)]

    async def index(
        self,
        upload: Upload,
        language: str,
        chunks: Sequence[IndexedChunk],
        vectors: Mapping[str, Sequence[Vector]],
    ) -> None:
        """Make the upload the document's text, or do nothing where that is overtaken.

        EncodersChanged where `vectors` has none of an encoder that the portfolio has by now,
        EncoderUnavailable where a vector's length is not the encoder's dimension.
        """
        async with self._database.transaction(upload.scope) as connection:
            await hold_encoders(connection, upload.portfolio_id)
            former = await _lock(connection, upload)
            if former is not None:
                encoders = await encoders_of(connection, upload.portfolio_id)
                change = await replace_content(
                    connection, upload, language, chunks, encoders, vectors
                )
                first = int(former["revision"] == 0)
                added = len(chunks) - former["chunk_count"]
                await _changed(connection, change, first, added)
            await connection.execute(DROP_UPLOADS, upload.document_id, upload.id)

    async def fail(self, upload: Upload, error: str, *, final: bool) -> None:
        """Mark the document failed; `final` drops the upload, otherwise it is offered again. Does
        nothing where another has claimed it since."""
        await self._mark_failed(upload, error, DROP_CLAIMED if final else OFFER_AGAIN)

    async def give_back(self, upload: Upload, error: str, *, later: bool) -> None:
        """As `fail`, where this was no attempt: it is offered again at once, or `later`, in half a
        minute."""
        await self._mark_failed(upload, error, OFFER_LATER if later else HAND_BACK)

    async def _mark_failed(self, upload: Upload, error: str, end_claim: str) -> None:
        async with self._database.transaction(upload.scope) as connection:
            current = await _lock(connection, upload)
            ours = await connection.fetchval(end_claim, upload.id, upload.attempts)
            if current is not None and ours is not None:
                await connection.execute(
                    "UPDATE documents SET status = 'failed', error = $2, updated_at = now() "
                    "WHERE id = $1",
                    upload.document_id,
                    error,
                )

    async def leave(self, upload: Upload, error: str) -> None:
        """Say on the document what its upload waits for; it is offered again in five minutes."""
        async with self._database.transaction(upload.scope) as connection:
            current = await _lock(connection, upload)
            ours = await connection.fetchval(LEAVE, upload.id, upload.attempts)
            if current is not None and ours is not None:
                await connection.execute(
                    "UPDATE documents SET error = $2, updated_at = now() WHERE id = $1",
                    upload.document_id,
                    error,
                )

    async def list(
        self, caller: Scope | Claim, portfolio_id: int, limit: int, after: str | None
    ) -> Page[DocumentRecord]:
        """Without their texts. NotFound for the portfolio."""
        asked = checked_id(portfolio_id), after_id(after), limit + 1
        rows = await self._database.read(caller, LIST, *asked)
        if not rows and not await self._database.read(caller, EXISTS, portfolio_id):
            raise NotFound(MISSING_PORTFOLIO)
        return page(rows, limit, _record, lambda row: str(row["id"]))

    async def get(self, caller: Scope | Claim, document_id: int) -> DocumentRecord:
        rows = await self._database.read(caller, GET, checked_id(document_id))
        if not rows:
            raise NotFound(MISSING)
        return _record(rows[0])

    async def delete(self, scope: Scope, document_id: int) -> None:
        """Remove the document with all of it and raise its portfolio's version."""
        async with self._database.transaction(scope) as connection:
            portfolio_id = await connection.fetchval(
                "SELECT portfolio_id FROM documents WHERE id = $1", checked_id(document_id)
            )
            if portfolio_id is None:
                raise NotFound(MISSING)
            await _hold(connection, portfolio_id)
            await connection.execute("SELECT FROM documents WHERE id = $1 FOR UPDATE", document_id)
            change = await clear_chunks(connection, portfolio_id, document_id)
            gone = await connection.fetchrow(
                "DELETE FROM documents WHERE id = $1 RETURNING revision, chunk_count", document_id
            )
            if gone is None:
                raise NotFound(MISSING)
            counted = -int(gone["revision"] > 0)
            await _changed(connection, change, counted, -gone["chunk_count"])


async def _hold(connection: asyncpg.Connection, portfolio_id: int) -> None:
    if await connection.fetchval(HOLD_PORTFOLIO, portfolio_id) is None:
        raise NotFound(MISSING_PORTFOLIO)


async def _changed(
    connection: asyncpg.Connection, change: TermChange, documents: int, chunks: int
) -> None:
    """Raise the portfolio's version and count; from here on its writers wait for each other."""
    await connection.execute(CHANGED, change.portfolio_id, documents, chunks, change.length)
    await settle_terms(connection, change)


async def _lock(connection: asyncpg.Connection, upload: Upload) -> asyncpg.Record | None:
    """The document as it is now, locked; None where it is gone or a later upload is in it."""
    if await connection.fetchval(HOLD_PORTFOLIO, upload.portfolio_id) is None:
        return None
    return await connection.fetchrow(
        "SELECT revision, chunk_count FROM documents WHERE id = $1 AND revision < $2 "
        "FOR NO KEY UPDATE",
        upload.document_id,
        upload.id,
    )


def _upload(row: Mapping[str, Any]) -> Upload:
    return Upload(
        id=row["id"],
        scope=Scope(row["tenant_id"]),
        portfolio_id=row["portfolio_id"],
        document_id=row["document_id"],
        title=row["title"],
        text=row["text"],
        uri=row["uri"],
        metadata=row["metadata"],
        attempts=row["attempts"],
    )


def _record(row: Mapping[str, Any]) -> DocumentRecord:
    return DocumentRecord(**row)
