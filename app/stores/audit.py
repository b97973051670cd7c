"""The audit log: appended to and read; changing it is beyond the service's rights."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import Row, select

from app.chat.administration import AuditEntry, AuditRecord, Page
from app.chat.model import Claim, Scope
from app.stores.database import Database
from app.stores.pages import after_id, page
from app.stores.schema import audit_log

# One round trip: the rows come after `enter` has set the tenant that row level security checks
# them by.
APPEND = """
INSERT INTO audit_log (tenant_id, at, subject, role, action, object_kind, object_id, result, status,
                       count, request_id, address, entry_id)
SELECT entered.tenant_id, e.*
  FROM (SELECT enter($1, '', '', NULL) AS tenant_id) entered,
       unnest($2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
              $8::text[], $9::smallint[], $10::integer[], $11::text[], $12::text[], $13::uuid[]) e
    ON CONFLICT DO NOTHING
"""
COLUMNS = (
    "at", "subject", "role", "action", "object_kind", "object_id", "result", "status", "count",
    "request_id", "address", "entry_id",
)  # fmt: skip
values_of = attrgetter(*COLUMNS)


class PgAudit:
    """The port `AuditLog` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Keep these of one tenant, all or none, each once however often it is sent. Raises
        DatabaseUnavailable."""
        columns = zip(*(values_of(entry) for entry in entries), strict=True)
        tenant_id = entries[0].tenant_id
        await self._database.fetch(APPEND, tenant_id, *(list(column) for column in columns))

    async def list(
        self,
        scope: Scope,
        limit: int,
        after: str | None,
        subject: str | None = None,
        action: str | None = None,
    ) -> Page[AuditRecord]:
        """Latest first. Row level security shows them to owners only."""
        statement = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit + 1)
        if after is not None:
            statement = statement.where(audit_log.c.id < after_id(after))
        if subject is not None:
            statement = statement.where(audit_log.c.subject == subject)
        if action is not None:
            statement = statement.where(audit_log.c.action == action)
        async with self._database.session(scope) as session:
            rows = (await session.execute(statement)).all()
        return page(rows, limit, _record, lambda row: str(row.id))

    async def holder_of(self, claim: Claim) -> Scope | None:
        """Whose the credential is or was; None where nobody knows it."""
        [row] = await self._database.fetch(
            "SELECT * FROM holder_of($1, $2, $3)", claim.key_digest, claim.user, claim.tenant
        )
        if row["tenant_id"] is None:
            return None
        return Scope(row["tenant_id"], row["subject"], row["role"])


def _record(row: Row[*tuple[Any, ...]]) -> AuditRecord:
    return AuditRecord(**row._mapping)
