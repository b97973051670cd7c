"""API keys: made, listed and revoked by a tenant's administrators."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg

from app.chat.administration import Page
from app.chat.keys import KeyRecord
from app.chat.model import Scope
from app.chat.people import check_rank, is_above
from app.errors import InvalidInput, NotFound
from app.stores.agents import check_settable
from app.stores.database import Database, checked_id
from app.stores.owners import check_owner_left, lock_owners
from app.stores.pages import after_id, page
from app.stores.tenants import digest_of, new_key

SETTABLE = frozenset(("name", "role", "user_id", "portfolio_ids", "expires_at"))
MISSING = "There is no such key."
LATEST = datetime(9000, 1, 1, tzinfo=UTC)  # in every time zone one that can be stored

CREATE = """
INSERT INTO api_keys
       (tenant_id, name, role, user_id, portfolio_ids, expires_at, key_hash, last4)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id, name, role, user_id, portfolio_ids, last4, created_at, expires_at
"""
LIST = """
SELECT id, name, role, user_id, portfolio_ids, last4, created_at, expires_at FROM api_keys
 WHERE kind = 'key' AND revoked_at IS NULL AND id > $1 ORDER BY id LIMIT $2
"""
GET = """
SELECT id, name, role, user_id, portfolio_ids, last4, created_at, expires_at FROM api_keys
 WHERE kind = 'key' AND revoked_at IS NULL AND id = $1
"""
REVOKE = "UPDATE api_keys SET revoked_at = now() WHERE id = $1"
ROLE_OF_USER = "SELECT role FROM users WHERE id = $1"
KNOWN_PORTFOLIOS = "SELECT count(*) FROM portfolios WHERE id = ANY ($1::bigint[])"


class PgKeys:
    """The port `Keys` on Postgres. A key's rights never grow: it is revoked, and another made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, scope: Scope, values: Mapping[str, Any]) -> tuple[KeyRecord, str]:
        """A new key and its secret, this once."""
        check_settable(values, SETTABLE)
        role, limited = values["role"], _portfolios(values)
        check_rank(scope, role)
        if limited is not None and role != "member":
            raise InvalidInput("A key that is limited to portfolios has the role member.")
        expires_at = _time(values)
        secret = new_key()
        async with self._database.transaction(scope) as connection:
            user_id = await _user(connection, scope, values.get("user_id"), role)
            if limited is not None:
                await _check_portfolios(connection, limited)
            row = await connection.fetchrow(
                CREATE,
                scope.tenant_id,
                values["name"],
                role,
                user_id,
                limited,
                expires_at,
                digest_of(secret),
                secret[-4:],
            )
        return _record(row), secret

    async def list(self, scope: Scope, limit: int, after: str | None) -> Page[KeyRecord]:
        """Those that are not revoked, without the page's sessions."""
        async with self._database.transaction(scope) as connection:
            rows = await connection.fetch(LIST, after_id(after), limit + 1)
        return page(rows, limit, _record, lambda row: str(row["id"]))

    async def get(self, scope: Scope, key_id: int) -> KeyRecord:
        async with self._database.transaction(scope) as connection:
            return _record(await connection.fetchrow(GET, checked_id(key_id)))

    async def revoke(self, scope: Scope, key_id: int) -> None:
        """Forbidden for a key, or one of a user, above the scope's role; Conflict for the
        tenant's last owner."""
        async with self._database.transaction(scope) as connection:
            await lock_owners(connection, scope)
            key = _record(await connection.fetchrow(GET + "FOR UPDATE", checked_id(key_id)))
            check_rank(scope, key.role)
            if key.user_id is not None:
                check_rank(scope, await connection.fetchval(ROLE_OF_USER, key.user_id))
            await connection.execute(REVOKE, key_id)
            if key.role == "owner" and key.user_id is None:
                await check_owner_left(connection, scope)


async def _user(
    connection: asyncpg.Connection, scope: Scope, user_id: int | None, role: str
) -> int | None:
    """The user that the key is to be of, where it is one's."""
    if user_id is None:
        return None
    found = await connection.fetchval(ROLE_OF_USER, checked_id(user_id))
    if found is None:
        raise NotFound("There is no such user.")
    check_rank(scope, found)  # whoever has the key is that user
    if is_above(role, found):
        raise InvalidInput(f"The user is {found}; a key of theirs has no more rights.")
    return user_id


async def _check_portfolios(connection: asyncpg.Connection, wanted: list[int]) -> None:
    if await connection.fetchval(KNOWN_PORTFOLIOS, wanted) < len(wanted):
        raise NotFound("There is no such portfolio.")


def _portfolios(values: Mapping[str, Any]) -> list[int] | None:
    """Each once; None for all."""
    given = values.get("portfolio_ids")
    if given is None:
        return None
    if not given:
        raise InvalidInput("`portfolio_ids` names at least one, or is left out for all.")
    return sorted({checked_id(each) for each in given})


def _time(values: Mapping[str, Any]) -> datetime | None:
    expires_at: datetime | None = values.get("expires_at")
    if expires_at is not None and not datetime.now(UTC) < expires_at < LATEST:
        raise InvalidInput("`expires_at` must be a time to come, before the year 9000.")
    return expires_at


def _record(row: asyncpg.Record | None) -> KeyRecord:
    if row is None:
        raise NotFound(MISSING)
    return KeyRecord(**row)
