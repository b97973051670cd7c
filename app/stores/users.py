"""The people of a tenant."""

from collections.abc import Mapping
from typing import Any

import asyncpg

from app.chat.administration import Page, UserRecord
from app.chat.model import Scope
from app.chat.people import check_rank, checked_email
from app.errors import Conflict, NotFound
from app.stores.agents import check_settable
from app.stores.database import ENTER, Database, checked_id, who
from app.stores.owners import check_owner_left, lock_owners
from app.stores.pages import after_id, page

NEW = frozenset(("email", "name", "role"))
SETTABLE = NEW | {"disabled", "sign_out_everywhere"}
MISSING = "There is no such user."
TAKEN = "The tenant has a user of this address already."

# What a token says is brought to lower case by the database as well.
CREATE = """
INSERT INTO users (tenant_id, email, name, role) VALUES ($1, lower($2), $3, $4)
RETURNING id, email, name, role, created_at, disabled_at
"""
LIST = """
SELECT id, email, name, role, created_at, disabled_at FROM users
 WHERE id > $1 ORDER BY id LIMIT $2
"""
GET = "SELECT id, email, name, role, created_at, disabled_at FROM users WHERE id = $1 "
FIND = "SELECT id, email, name, role, created_at, disabled_at FROM users WHERE email = lower($1)"
# The clock's time, not the transaction's: whoever signed in before this row was locked is out. So
# is who had another address: tokens of the new one were, until now, somebody else's.
UPDATE = """
UPDATE users
   SET email = coalesce(lower($2), email), name = coalesce($3, name), role = coalesce($4, role),
       disabled_at = CASE WHEN $5::boolean IS NULL THEN disabled_at
                          WHEN $5 THEN coalesce(disabled_at, now()) END,
       tokens_after = CASE WHEN $5 OR $6::boolean OR lower($2) <> email THEN clock_timestamp()
                           ELSE tokens_after END
 WHERE id = $1
RETURNING id, email, name, role, created_at, disabled_at
"""
# Nobody else sees what somebody has asked, so nobody else could remove it either.
FORGET = "DELETE FROM conversations WHERE tenant_id = $1 AND subject = $2"
FORGET_SECONDS = 60.0


class PgUsers:
    """The port `Users` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, scope: Scope, values: Mapping[str, Any]) -> UserRecord:
        """Conflict when the tenant has this address; Forbidden for a role above the scope's."""
        check_settable(values, NEW)
        email, role = checked_email(values["email"]), values.get("role", "member")
        check_rank(scope, role)
        async with self._database.transaction(scope) as connection:
            row = await _unique(
                connection, CREATE, scope.tenant_id, email, values.get("name", ""), role
            )
        return _record(row)

    async def list(self, scope: Scope, limit: int, after: str | None) -> Page[UserRecord]:
        async with self._database.transaction(scope) as connection:
            rows = await connection.fetch(LIST, after_id(after), limit + 1)
        return page(rows, limit, _record, lambda row: str(row["id"]))

    async def get(self, scope: Scope, user_id: int) -> UserRecord:
        async with self._database.transaction(scope) as connection:
            return _record(await connection.fetchrow(GET, checked_id(user_id)))

    async def find(self, scope: Scope, email: str) -> UserRecord:
        """By the address, in whatever case."""
        async with self._database.transaction(scope) as connection:
            return _record(await connection.fetchrow(FIND, email.strip()))

    async def update(self, scope: Scope, user_id: int, values: Mapping[str, Any]) -> UserRecord:
        """Change the given fields. `sign_out_everywhere` ends every session and refuses every token
        of before; so do `disabled`, for when they are not disabled any more, and another `email`.
        Forbidden for who is, or would be, above the scope's role; Conflict for the tenant's last
        owner."""
        check_settable(values, SETTABLE)
        email = checked_email(values["email"]) if "email" in values else None
        async with self._database.transaction(scope) as connection:
            former = await _locked(connection, scope, user_id)
            if values.get("role") is not None:
                check_rank(scope, values["role"])
            given = [values.get(name) for name in ("name", "role", "disabled")]
            row = await _unique(
                connection, UPDATE, user_id, email, *given, values.get("sign_out_everywhere")
            )
            if former.role == "owner":
                await check_owner_left(connection, scope)
        return _record(row)

    async def delete(self, scope: Scope, user_id: int) -> None:
        """Remove the user with every key, session and conversation of theirs. Forbidden for who is
        above the scope's role; Conflict for the tenant's last owner."""
        async with self._database.transaction(scope) as connection:
            former = await _locked(connection, scope, user_id)
            subject = f"user:{user_id}"
            await connection.execute(ENTER, *who(Scope(scope.tenant_id, subject)))
            await connection.execute(FORGET, scope.tenant_id, subject, timeout=FORGET_SECONDS)
            await connection.execute(ENTER, *who(scope))
            await connection.execute("DELETE FROM users WHERE id = $1", user_id)
            if former.role == "owner":
                await check_owner_left(connection, scope)


async def _locked(connection: asyncpg.Connection, scope: Scope, user_id: int) -> UserRecord:
    """The user, who stays as they are until the transaction ends. Raises NotFound, Forbidden."""
    await lock_owners(connection, scope)
    found = _record(await connection.fetchrow(GET + "FOR UPDATE", checked_id(user_id)))
    check_rank(scope, found.role)
    return found


async def _unique(connection: asyncpg.Connection, statement: str, *values: Any) -> asyncpg.Record:
    try:
        return await connection.fetchrow(statement, *values)
    except asyncpg.UniqueViolationError as error:
        raise Conflict(TAKEN) from error


def _record(row: asyncpg.Record | None) -> UserRecord:
    if row is None:
        raise NotFound(MISSING)
    return UserRecord(**row)
