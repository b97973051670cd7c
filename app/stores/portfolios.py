"""Portfolios as their administrators see them."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import func, insert, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.administration import Page, PortfolioRecord
from app.chat.model import Claim, Scope
from app.errors import NotFound
from app.stores import access
from app.stores.agents import check_settable
from app.stores.database import Database, checked_id
from app.stores.encoders import Encoders
from app.stores.pages import after_id, page
from app.stores.schema import portfolios

SETTABLE = frozenset(("name", "description")) | access.LISTS
READING = """
SELECT p.id, p.name, p.description, p.version, p.document_count, p.chunk_count, p.created_at,
       p.updated_at, a.readers, coalesce(a.writers, '{}') AS writers
  FROM portfolios p LEFT JOIN portfolio_access a ON a.portfolio_id = p.id
"""
LIST = READING + "WHERE p.id > $5 ORDER BY p.id LIMIT $6"
GET = READING + "WHERE p.id = $5"
SAVED = text(READING + "WHERE p.id = :id")
# The cascade takes 16 µs for each chunk: two million of them are within it.
DELETE_SECONDS = 60.0
MISSING = "There is no such portfolio."


class PgPortfolios:
    """The port `Portfolios` on Postgres.

    `encoders`: the first of these that the database is prepared for serves a new portfolio. They
    are looked at each time, since not all may be known from the start.
    """

    def __init__(self, database: Database, encoders: Collection[str]) -> None:
        self._database = database
        self._encoders = Encoders(database)
        self._preferred = encoders

    async def create(self, scope: Scope, values: Mapping[str, Any]) -> PortfolioRecord:
        """Conflict when the name is taken, InvalidInput for somebody unknown in a list."""
        check_settable(values, SETTABLE)
        encoder = await self._encoders.first(self._preferred)
        statement = insert(portfolios).values(
            tenant_id=scope.tenant_id, encoder_id=encoder.id, **_columns(values)
        )
        async with self._database.session(scope) as session:
            made = (await session.execute(statement.returning(portfolios.c.id))).scalar_one()
            return await _saved(session, scope, made, values)

    async def list(
        self, caller: Scope | Claim, limit: int, after: str | None
    ) -> Page[PortfolioRecord]:
        rows = await self._database.read(caller, LIST, after_id(after), limit + 1)
        return page(rows, limit, _record, lambda row: str(row["id"]))

    async def get(self, caller: Scope | Claim, portfolio_id: int) -> PortfolioRecord:
        rows = await self._database.read(caller, GET, checked_id(portfolio_id))
        if not rows:
            raise NotFound(MISSING)
        return _record(rows[0])

    async def check_writable(self, scope: Scope, portfolio_id: int) -> None:
        """Raise NotFound for one that the scope does not see, Forbidden for one that it may not
        add documents to."""
        await access.check_writable(self._database, scope, portfolio_id)

    async def update(
        self, scope: Scope, portfolio_id: int, values: Mapping[str, Any]
    ) -> PortfolioRecord:
        """Change name, description or access. Its content, and so its version, stays the same."""
        check_settable(values, SETTABLE)
        statement = (
            update(portfolios)
            .where(portfolios.c.id == checked_id(portfolio_id))
            .values(**_columns(values), updated_at=func.now())
            .returning(portfolios.c.id)
        )
        async with self._database.session(scope) as session:
            if (await session.execute(statement)).one_or_none() is None:
                raise NotFound(MISSING)
            return await _saved(session, scope, portfolio_id, values)

    async def delete(self, scope: Scope, portfolio_id: int) -> None:
        """Remove the portfolio with everything of it; its agents keep running without one."""
        async with self._database.transaction(scope) as connection:
            gone = await connection.fetchval(
                "DELETE FROM portfolios WHERE id = $1 RETURNING id",
                checked_id(portfolio_id),
                timeout=DELETE_SECONDS,
            )
        if gone is None:
            raise NotFound(MISSING)


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the table itself."""
    return {name: value for name, value in values.items() if name not in access.LISTS}


async def _saved(
    session: AsyncSession, scope: Scope, portfolio_id: int, values: Mapping[str, Any]
) -> PortfolioRecord:
    await access.save_lists(session, scope, portfolio_id, values)
    found = await session.execute(SAVED, {"id": portfolio_id})
    return _record(found.mappings().one())


def _record(row: Mapping[Any, Any]) -> PortfolioRecord:
    return PortfolioRecord(**row)
