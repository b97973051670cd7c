"""Whose request it is, and making a tenant's cached answers unreachable."""

import hashlib
import secrets
from collections.abc import Sequence

import asyncpg
from sqlalchemy import Table, update

from app.chat.keys import SESSION_PREFIX
from app.chat.model import Claim, Scope
from app.errors import NotFound
from app.stores.database import Database, checked_id, who
from app.stores.schema import agents, portfolios, tenants

KEY_PREFIX = "cs_"
KEY_BYTES = 32  # 256 random bits need no slow hash: nobody can try them all
DEFAULT_TENANT = "default"
RESOLVE = "SELECT * FROM resolve_credential($1, $2, $3, $4)"
RESOLVE_ALL = """
SELECT r.*
  FROM unnest($1::bytea[], $2::text[], $3::text[], $4::timestamptz[]) WITH ORDINALITY
       AS c (key_hash, user_name, tenant, issued, number)
 CROSS JOIN LATERAL resolve_credential(c.key_hash, c.user_name, c.tenant, c.issued) r
 ORDER BY c.number
"""


class PgCredentials:
    """The port `Credentials` on Postgres: API keys are kept as SHA-256 only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._default: Scope | None = None

    async def resolve(self, claim: Claim) -> Scope | None:
        """The scope of a credential that exists, is not revoked and has not expired, else None."""
        [row] = await self._database.fetch(RESOLVE, *who(claim))
        return None if row["subject"] is None else resolved(row)

    async def resolve_all(self, claims: Sequence[Claim]) -> Sequence[Scope | None]:
        """The same of several at once, in their order."""
        columns = zip(*(who(claim) for claim in claims), strict=True)
        rows = await self._database.fetch(RESOLVE_ALL, *(list(column) for column in columns))
        return [None if row["subject"] is None else resolved(row) for row in rows]

    def claim(self, key: str) -> Claim | None:
        """What stands for the key or session until something is done with it; None for what cannot
        be one of ours."""
        return Claim(digest_of(key)) if key.startswith(KEY_PREFIX) else None

    async def create(self, tenant: str, name: str) -> str:
        """Make an API key of the owner's role for the tenant (created when new)."""
        key = new_key()
        [row] = await self._database.fetch("SELECT ensure_tenant($1) AS id", tenant)
        async with self._database.transaction(Scope(row["id"])) as connection:
            await connection.execute(
                "INSERT INTO api_keys (tenant_id, name, role, key_hash, last4) "
                "VALUES ($1, $2, 'owner', $3, $4)",
                row["id"],
                name,
                digest_of(key),
                key[-4:],
            )
        return key

    async def owner_of(self, tenant: str, *, create: bool = False) -> Scope:
        """The owner of the tenant of this name. NotFound where there is none, unless it is to be
        made."""
        query = "SELECT ensure_tenant($1) AS id" if create else "SELECT find_tenant($1) AS id"
        [row] = await self._database.fetch(query, tenant)
        if row["id"] is None:
            raise NotFound("There is no such tenant.")
        return Scope(row["id"])

    async def default_scope(self) -> Scope:
        """The owner of the `default` tenant, asked for once; NotFound before `prepare`."""
        if self._default is None:
            [row] = await self._database.fetch("SELECT find_tenant($1) AS id", DEFAULT_TENANT)
            if row["id"] is None:
                raise NotFound("There is no tenant `default`; the database is not prepared.")
            self._default = Scope(row["id"])
        return self._default


class PgInvalidation:
    """The port `Invalidation` on Postgres: epochs that are part of every cache key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def raise_epoch(
        self, scope: Scope, agent_id: int | None, portfolio_id: int | None
    ) -> None:
        """Raise the portfolio's epoch, the agent's, or with neither the tenant's; all or none.
        NotFound for unknown or foreign ids."""
        # The portfolio first: deleting one locks it before its agents, too.
        targets: list[tuple[Table, int]] = []
        if portfolio_id is not None:
            targets.append((portfolios, checked_id(portfolio_id)))
        if agent_id is not None:
            targets.append((agents, checked_id(agent_id)))
        async with self._database.session(scope) as session:
            for table, row_id in targets or [(tenants, scope.tenant_id)]:
                statement = update(table).where(table.c.id == row_id)
                statement = statement.values(cache_epoch=table.c.cache_epoch + 1)
                if not (await session.execute(statement.returning(table.c.id))).all():
                    raise NotFound


def new_key() -> str:
    """A key's secret, which nobody takes for a session's."""
    while True:
        key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        if not key.startswith(SESSION_PREFIX):
            return key


def resolved(row: asyncpg.Record) -> Scope:
    """Of a credential that was found."""
    limited = row["portfolios"]
    return Scope(
        row["tenant_id"], row["subject"], row["role"], None if limited is None else tuple(limited)
    )


def digest_of(key: str) -> bytes:
    """What is stored of a key: enough to know it again."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
