"""Agents as their administrators see them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.administration import AgentRecord, Page
from app.chat.model import Scope
from app.errors import InvalidInput, NotFound
from app.stores.database import Database, checked_id
from app.stores.pages import after_id, page
from app.stores.schema import agents, portfolios

SETTABLE = frozenset(
    ("name", "description", "system_prompt", "provider", "model", "portfolio_id",
     "persona_portfolio_id", "fallback_provider", "fallback_model", "top_k", "max_tokens",
     "semantic_threshold",
     "temperature")
)  # fmt: skip
SHOWN = (
    agents.c.id, agents.c.name, agents.c.description, agents.c.system_prompt, agents.c.provider,
    agents.c.model, agents.c.portfolio_id, agents.c.persona_portfolio_id,
    agents.c.fallback_provider, agents.c.fallback_model, agents.c.semantic_threshold,
    agents.c.top_k, agents.c.max_tokens,
    agents.c.temperature, agents.c.version, agents.c.created_at, agents.c.updated_at,
)  # fmt: skip
MISSING = "There is no such agent."


class PgAgents:
    """The port `Agents` on Postgres."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, scope: Scope, values: Mapping[str, Any]) -> AgentRecord:
        """Conflict when the name is taken, NotFound when a portfolio is not this tenant's."""
        check_settable(values, SETTABLE)
        async with self._database.session(scope) as session:
            await _check_portfolios(session, values)
            statement = insert(agents).values(tenant_id=scope.tenant_id, **values)
            return _record((await session.execute(statement.returning(*SHOWN))).one())

    async def list(self, scope: Scope, limit: int, after: str | None) -> Page[AgentRecord]:
        statement = select(*SHOWN).where(agents.c.id > after_id(after))
        async with self._database.session(scope) as session:
            rows = (await session.execute(statement.order_by(agents.c.id).limit(limit + 1))).all()
        return page(rows, limit, _record, lambda row: str(row.id))

    async def get(self, scope: Scope, agent_id: int) -> AgentRecord:
        statement = select(*SHOWN).where(agents.c.id == checked_id(agent_id))
        async with self._database.session(scope) as session:
            row = (await session.execute(statement)).one_or_none()
        return _found(row)

    async def update(self, scope: Scope, agent_id: int, values: Mapping[str, Any]) -> AgentRecord:
        """Change the given fields and raise `version`."""
        check_settable(values, SETTABLE)
        statement = (
            update(agents)
            .where(agents.c.id == checked_id(agent_id))
            .values(**values, version=agents.c.version + 1, updated_at=func.now())
            .returning(*SHOWN)
        )
        async with self._database.session(scope) as session:
            await _check_portfolios(session, values)
            return _found((await session.execute(statement)).one_or_none())

    async def delete(self, scope: Scope, agent_id: int) -> None:
        """Remove the agent with its conversations and runs."""
        statement = delete(agents).where(agents.c.id == checked_id(agent_id))
        async with self._database.session(scope) as session:
            if not (await session.execute(statement.returning(agents.c.id))).all():
                raise NotFound(MISSING)


def check_settable(values: Mapping[str, Any], settable: frozenset[str]) -> None:
    """Raise InvalidInput for a field that is not the caller's to set."""
    for name in values.keys() - settable:
        raise InvalidInput(f"`{name}` cannot be set.")


async def _check_portfolios(session: AsyncSession, values: Mapping[str, Any]) -> None:
    """Lock the portfolios that an agent shall use. A foreign key alone would accept another
    tenant's, and locking them before the agent is the order in which deleting one locks both."""
    given = (values.get("portfolio_id"), values.get("persona_portfolio_id"))
    wanted = sorted({checked_id(each) for each in given if each is not None})
    if not wanted:
        return
    statement = select(portfolios.c.id).where(portfolios.c.id.in_(wanted)).order_by(portfolios.c.id)
    found = await session.execute(statement.with_for_update(read=True, key_share=True))
    if len(found.all()) < len(wanted):
        raise NotFound("There is no such portfolio.")


def _found(row: Row[*tuple[Any, ...]] | None) -> AgentRecord:
    if row is None:
        raise NotFound(MISSING)
    return _record(row)


def _record(row: Row[*tuple[Any, ...]]) -> AgentRecord:
    return AgentRecord(**row._mapping)
