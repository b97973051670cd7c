"""Agents, portfolios, conversations and tenants as their administrators see them.

Every method takes the scope first; an unknown or foreign id is NotFound. Pages are ordered by id
(conversations: latest first); `after` is the cursor of the previous page, opaque to callers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from app.chat.model import Citation, Claim, Scope

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list; `next` is the cursor for the following one, None at the end."""

    items: Sequence[Item]
    next: str | None


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent as stored. `provider` is auto, openai, mistral or extractive, `fallback_provider`
    one of the last three or None."""

    id: int
    name: str
    description: str
    system_prompt: str
    provider: str
    model: str | None
    portfolio_id: int | None
    persona_portfolio_id: int | None
    fallback_provider: str | None
    fallback_model: str | None
    semantic_threshold: float | None
    top_k: int
    max_tokens: int
    temperature: float
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class PortfolioRecord:
    """A portfolio as stored, with its size."""

    id: int
    name: str
    description: str
    version: int
    document_count: int
    chunk_count: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    id: UUID
    agent_id: int
    title: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """One stored message. `status` is complete, interrupted or error."""

    id: UUID
    run_id: UUID | None
    role: str
    content: str
    status: str
    citations: Sequence[Citation]
    created_at: datetime


class Agents(Protocol):
    async def create(self, scope: Scope, values: Mapping[str, Any]) -> AgentRecord:
        """`values` are AgentRecord's settable fields; Conflict when the name is taken, NotFound
        when one of its portfolios is not this tenant's."""
        ...

    async def list(self, scope: Scope, limit: int, after: str | None) -> Page[AgentRecord]: ...

    async def get(self, scope: Scope, agent_id: int) -> AgentRecord: ...

    async def update(self, scope: Scope, agent_id: int, values: Mapping[str, Any]) -> AgentRecord:
        """Change the given fields and raise `version`."""
        ...

    async def delete(self, scope: Scope, agent_id: int) -> None:
        """Remove the agent with its conversations."""
        ...


class Portfolios(Protocol):
    async def create(self, scope: Scope, values: Mapping[str, Any]) -> PortfolioRecord:
        """`values`: name, description. Conflict when the name is taken."""
        ...

    async def list(self, scope: Scope, limit: int, after: str | None) -> Page[PortfolioRecord]: ...

    async def get(self, scope: Scope, portfolio_id: int) -> PortfolioRecord: ...

    async def update(
        self, scope: Scope, portfolio_id: int, values: Mapping[str, Any]
    ) -> PortfolioRecord: ...

    async def delete(self, scope: Scope, portfolio_id: int) -> None:
        """Remove the portfolio with every document, chunk, vector and pending upload of it;
        agents that used it keep running without one."""
        ...


class History(Protocol):
    async def list(
        self, scope: Scope, limit: int, after: str | None
    ) -> Page[ConversationRecord]: ...

    async def get(
        self, scope: Scope, conversation_id: UUID
    ) -> tuple[ConversationRecord, Sequence[MessageRecord]]: ...

    async def delete(self, scope: Scope, conversation_id: UUID) -> None: ...


class Invalidation(Protocol):
    async def raise_epoch(
        self, scope: Scope, agent_id: int | None, portfolio_id: int | None
    ) -> None:
        """Make every cached answer of the agent, of the portfolio, or (both None) of the tenant
        unreachable: cache keys contain these epochs. NotFound for unknown or foreign ids."""
        ...


UNKNOWN_KEY = "This API key is unknown, expired or revoked."


class Credentials(Protocol):
    async def resolve(self, key: str) -> Scope | None:
        """The scope of an API key that exists, is not revoked and has not expired, else None."""
        ...

    def claim(self, key: str) -> Claim | None:
        """What stands for an API key until a question is loaded with it, in one round trip for
        both; None where it has to be resolved by itself."""
        ...

    async def create(self, tenant: str, name: str) -> str:
        """Make an API key for the tenant (created when new) and return it, this once."""
        ...

    async def default_scope(self) -> Scope:
        """The owner of the `default` tenant."""
        ...
