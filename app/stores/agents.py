"""Agents as their administrators see them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.administration import AgentRecord, KeyState, Page, keeps_key
from app.chat.model import Claim, Scope
from app.errors import InvalidInput, NotFound
from app.stores.database import Database, checked_id
from app.stores.pages import after_id, page
from app.stores.schema import agents, portfolios
from app.vault.agent_keys import AgentKeys
from app.vault.sealing import Vault

API_KEY = "api_key"
SETTABLE = frozenset(
    ("name", "description", "system_prompt", "provider", "model", "portfolio_id",
     "persona_portfolio_id", "fallback_provider", "fallback_model", "top_k", "max_tokens",
     "semantic_threshold", "base_url", API_KEY,
     "temperature")
)  # fmt: skip
READ = (
    agents.c.id, agents.c.name, agents.c.description, agents.c.system_prompt, agents.c.provider,
    agents.c.model, agents.c.portfolio_id, agents.c.persona_portfolio_id,
    agents.c.fallback_provider, agents.c.fallback_model, agents.c.semantic_threshold,
    agents.c.top_k, agents.c.max_tokens,
    agents.c.temperature, agents.c.version, agents.c.created_at, agents.c.updated_at,
    agents.c.base_url, agents.c.api_key_last4,
    agents.c.tenant_id, agents.c.api_key_sealed,
)  # fmt: skip
COLUMNS = ", ".join(column.name for column in READ)
LIST = f"SELECT {COLUMNS} FROM agents WHERE id > $5 ORDER BY id LIMIT $6"  # noqa: S608
GET = f"SELECT {COLUMNS} FROM agents WHERE id = $5"  # noqa: S608
NO_KEY = {"api_key_sealed": None, "api_key_last4": None}
MISSING = "There is no such agent."


class PgAgents:
    """The port `Agents` on Postgres."""

    def __init__(self, database: Database, keys: AgentKeys | None = None) -> None:
        """`keys` encrypts their API keys; without it none is kept."""
        self._database = database
        self._keys = keys or AgentKeys(Vault())

    async def create(self, scope: Scope, values: Mapping[str, Any]) -> AgentRecord:
        """Conflict when the name is taken or no key can be kept, NotFound when a portfolio is not
        this tenant's."""
        check_settable(values, SETTABLE)
        plain = {name: value for name, value in values.items() if name != API_KEY}
        async with self._database.session(scope) as session:
            await _check_portfolios(session, values)
            statement = insert(agents).values(tenant_id=scope.tenant_id, **plain)
            row = (await session.execute(statement.returning(*READ))).mappings().one()
            if (key := values.get(API_KEY)) is not None:
                sealed = self._sealed(
                    key, scope.tenant_id, row["id"], row["provider"], row["base_url"]
                )
                setting = update(agents).where(agents.c.id == row["id"]).values(**sealed)
                row = (await session.execute(setting.returning(*READ))).mappings().one()
        return self._record(row)

    async def list(self, caller: Scope | Claim, limit: int, after: str | None) -> Page[AgentRecord]:
        rows = await self._database.read(caller, LIST, after_id(after), limit + 1)
        return page(rows, limit, self._record, lambda row: str(row["id"]))

    async def get(self, caller: Scope | Claim, agent_id: int) -> AgentRecord:
        rows = await self._database.read(caller, GET, checked_id(agent_id))
        return self._found(rows)

    async def update(self, scope: Scope, agent_id: int, values: Mapping[str, Any]) -> AgentRecord:
        """Change the given fields and raise `version`. Another `base_url` or `provider` without a
        new `api_key` clears the one there was."""
        check_settable(values, SETTABLE)
        found = agents.c.id == checked_id(agent_id)
        async with self._database.session(scope) as session:
            await _check_portfolios(session, values)
            plain = {name: value for name, value in values.items() if name != API_KEY}
            if values.keys() & {API_KEY, "base_url", "provider"}:
                plain |= await self._key_values(session, agent_id, values)
            statement = update(agents).where(found).values(
                **plain, version=agents.c.version + 1, updated_at=func.now()
            )  # fmt: skip
            rows = (await session.execute(statement.returning(*READ))).mappings().all()
        return self._found(rows)

    async def delete(self, scope: Scope, agent_id: int) -> None:
        """Remove the agent with its conversations and runs."""
        statement = delete(agents).where(agents.c.id == checked_id(agent_id))
        async with self._database.session(scope) as session:
            if not (await session.execute(statement.returning(agents.c.id))).all():
                raise NotFound(MISSING)

    async def _key_values(
        self, session: AsyncSession, agent_id: int, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What becomes of the agent's key. Locks it: a key that is entered while the address is
        changed elsewhere is for one of the two addresses, and opens for no other."""
        columns = (agents.c.tenant_id, agents.c.provider, agents.c.base_url)
        statement = select(*columns).where(agents.c.id == agent_id).with_for_update()
        row = (await session.execute(statement)).one_or_none()
        if row is None:
            raise NotFound(MISSING)
        if API_KEY not in values:
            return {} if keeps_key(row.provider, row.base_url, values) else NO_KEY
        if (key := values[API_KEY]) is None:
            return NO_KEY
        provider = values.get("provider", row.provider)
        base_url = values.get("base_url", row.base_url)
        return self._sealed(key, row.tenant_id, agent_id, provider, base_url)

    def _sealed(
        self, key: str, tenant_id: int, agent_id: int, provider: str, base_url: str | None
    ) -> dict[str, Any]:
        sealed = self._keys.seal(key, tenant_id, agent_id, provider, base_url)
        return {"api_key_sealed": sealed, "api_key_last4": key[-4:]}

    def _found(self, rows: Sequence[Mapping[Any, Any]]) -> AgentRecord:
        if not rows:
            raise NotFound(MISSING)
        return self._record(rows[0])

    def _record(self, row: Mapping[Any, Any]) -> AgentRecord:
        shown = dict(row)
        tenant_id, sealed = shown.pop("tenant_id"), shown.pop("api_key_sealed")
        state: KeyState = "none"
        if sealed is not None:
            opens = self._keys.opens(
                sealed, tenant_id, shown["id"], shown["provider"], shown["base_url"]
            )
            state = "ok" if opens else "undecryptable"
        return AgentRecord(**shown, api_key_state=state)


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
