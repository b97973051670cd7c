"""Who may read and who may write a portfolio: its access lists. Row level security goes by them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.model import Scope
from app.errors import Forbidden, InvalidInput, NotFound
from app.stores.database import Database, checked_id
from app.stores.schema import api_keys, portfolio_access, users

LISTS = frozenset(("readers", "writers"))
OPEN: Mapping[str, Sequence[str] | None] = {"readers": None, "writers": ()}
MAY_WRITE = "SELECT may_write(p.id) FROM portfolios p WHERE p.id = $1"


async def save_lists(
    session: AsyncSession, scope: Scope, portfolio_id: int, values: Mapping[str, Any]
) -> None:
    """Set those of the lists that `values` has. Raises InvalidInput for somebody who is not
    there."""
    given = {name: values[name] for name in LISTS if name in values}
    if not given:
        return
    await _check(session, {subject for each in given.values() for subject in each or ()})
    row = {"portfolio_id": portfolio_id, "tenant_id": scope.tenant_id}
    statement = insert(portfolio_access).values(**row, **(dict(OPEN) | given))
    await session.execute(
        statement.on_conflict_do_update(index_elements=["portfolio_id"], set_=given)
    )
    # One that says nothing would be looked at by every question.
    await session.execute(
        delete(portfolio_access).where(
            portfolio_access.c.portfolio_id == portfolio_id,
            portfolio_access.c.readers.is_(None),
            func.cardinality(portfolio_access.c.writers) == 0,
        )
    )


async def check_writable(database: Database, scope: Scope, portfolio_id: int) -> None:
    """Raise NotFound for a portfolio that the scope does not see, Forbidden for one that it may
    not add to or take from."""
    async with database.transaction(scope) as connection:
        allowed = await connection.fetchval(MAY_WRITE, checked_id(portfolio_id))
    if allowed is None:
        raise NotFound("There is no such portfolio.")
    if not allowed:
        raise Forbidden("This needs the role owner or admin, or a place among its writers.")


async def _check(session: AsyncSession, subjects: set[str]) -> None:
    """Each is a user of the tenant, or a key of it that is no user's."""
    numbers: dict[str, list[int]] = {"user": [], "key": []}
    for subject in subjects:
        kind, _, number = subject.partition(":")
        numbers[kind].append(checked_id(int(number)))
    found = await session.execute(
        select(func.concat("user:", users.c.id)).where(users.c.id.in_(numbers["user"]))
    )
    known = set(found.scalars())
    found = await session.execute(
        select(func.concat("key:", api_keys.c.id)).where(
            api_keys.c.id.in_(numbers["key"]),
            api_keys.c.user_id.is_(None),
            api_keys.c.kind == "key",
        )
    )
    known |= set(found.scalars())
    if strangers := sorted(subjects - known):
        raise InvalidInput(
            f"There is no {strangers[0]} to list; name a user (`user:1`), or a key that is no "
            "user's (`key:1`)."
        )
