"""Portfolios as their administrators see them."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from app.chat.administration import Page, PortfolioRecord
from app.chat.model import Scope
from app.errors import NotFound
from app.stores.agents import check_settable
from app.stores.database import Database, checked_id
from app.stores.encoders import Encoders
from app.stores.pages import after_id, page
from app.stores.schema import portfolios

SETTABLE = frozenset(("name", "description"))
SHOWN = (
    portfolios.c.id, portfolios.c.name, portfolios.c.description, portfolios.c.version,
    portfolios.c.document_count, portfolios.c.chunk_count, portfolios.c.created_at,
    portfolios.c.updated_at,
)  # fmt: skip
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
        """Conflict when the name is taken."""
        check_settable(values, SETTABLE)
        encoder = await self._encoders.first(self._preferred)
        statement = insert(portfolios).values(
            tenant_id=scope.tenant_id, encoder_id=encoder.id, **values
        )
        async with self._database.session(scope) as session:
            return _record((await session.execute(statement.returning(*SHOWN))).one())

    async def list(self, scope: Scope, limit: int, after: str | None) -> Page[PortfolioRecord]:
        statement = select(*SHOWN).where(portfolios.c.id > after_id(after))
        statement = statement.order_by(portfolios.c.id).limit(limit + 1)
        async with self._database.session(scope) as session:
            rows = (await session.execute(statement)).all()
        return page(rows, limit, _record, lambda row: str(row.id))

    async def get(self, scope: Scope, portfolio_id: int) -> PortfolioRecord:
        statement = select(*SHOWN).where(portfolios.c.id == checked_id(portfolio_id))
        async with self._database.session(scope) as session:
            row = (await session.execute(statement)).one_or_none()
        return _found(row)

    async def update(
        self, scope: Scope, portfolio_id: int, values: Mapping[str, Any]
    ) -> PortfolioRecord:
        """Change name or description. Its content, and so its version, stays the same."""
        check_settable(values, SETTABLE)
        statement = (
            update(portfolios)
            .where(portfolios.c.id == checked_id(portfolio_id))
            .values(**values, updated_at=func.now())
            .returning(*SHOWN)
        )
        async with self._database.session(scope) as session:
            return _found((await session.execute(statement)).one_or_none())

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


def _found(row: Row[*tuple[Any, ...]] | None) -> PortfolioRecord:
    if row is None:
        raise NotFound(MISSING)
    return _record(row)


def _record(row: Row[*tuple[Any, ...]]) -> PortfolioRecord:
    return PortfolioRecord(**row._mapping)
