"""Whose request it is, and making a tenant's cached answers unreachable."""

import hashlib
import secrets

import asyncpg
from sqlalchemy import Table, update

from app.chat.model import Claim, Scope
from app.errors import NotFound
from app.stores.database import Database, checked_id
from app.stores.schema import agents, portfolios, tenants

KEY_PREFIX = "cs_"
KEY_BYTES = 32  # 256 random bits need no slow hash: nobody can try them all
DEFAULT_TENANT = "default"


class PgCredentials:
    """The port `Credentials` on Postgres: API keys are kept as SHA-256 only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._default: Scope | None = None

    async def resolve(self, key: str) -> Scope | None:
        """The scope of a key that exists, is not revoked and has not expired, else None."""
        if not key.startswith(KEY_PREFIX):
            return None
        [row] = await self._database.fetch("SELECT * FROM resolve_api_key($1)", _hash(key))
        return None if row["key_id"] is None else scope_of_key(row)

    def claim(self, key: str) -> Claim | None:
        """What stands for the key until a question is loaded with it; None where it cannot be one
        of ours."""
        return Claim(_hash(key)) if key.startswith(KEY_PREFIX) else None

    async def create(self, tenant: str, name: str) -> str:
        """Make an API key of the owner's role for the tenant (created when new)."""
        key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        [row] = await self._database.fetch("SELECT ensure_tenant($1) AS id", tenant)
        async with self._database.transaction(Scope(row["id"])) as connection:
            await connection.execute(
                "INSERT INTO api_keys (tenant_id, name, role, key_hash, last4) "
                "VALUES ($1, $2, 'owner', $3, $4)",
                row["id"],
                name,
                _hash(key),
                key[-4:],
            )
        return key

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


def scope_of_key(row: asyncpg.Record) -> Scope:
    """Of a key that was found."""
    return Scope(row["tenant_id"], f"key:{row['key_id']}", row["role"])


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
