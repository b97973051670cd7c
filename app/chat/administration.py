"""Agents, portfolios, conversations and tenants as their administrators see them.

Every method takes the scope first; an unknown or foreign id is NotFound. What only reads takes a
claim as well, which is looked up with what is read; one that is nobody's is Unauthorized. Pages are
ordered by id (conversations: latest first); `after` is the cursor of the previous page, opaque to
callers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar
from uuid import UUID, uuid4

from app.chat.model import Citation, Claim, Scope

Item = TypeVar("Item")
KeyState = Literal["none", "ok", "undecryptable"]


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list; `next` is the cursor for the following one, None at the end."""

    items: Sequence[Item]
    next: str | None


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent as stored. `provider` is auto, openai, mistral or extractive, `fallback_provider`
    one of the last three or None. Of its own API key there are the last four characters, and
    whether it can be decrypted."""

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
    base_url: str | None = None
    api_key_last4: str | None = None
    api_key_state: KeyState = "none"


def keeps_key(provider: str, base_url: str | None, values: Mapping[str, Any]) -> bool:
    """Whether an agent's key may stay when these values are set: not where it would go elsewhere
    from now on."""
    becomes = (values.get("provider", provider), values.get("base_url", base_url))
    return becomes == (provider, base_url)


@dataclass(frozen=True, slots=True)
class PortfolioRecord:
    """A portfolio as stored, with its size and its access lists: subjects (`Scope.subject`).

    Without `readers` (None) it is open to its tenant. `writers` read as well; owners and admins do
    both in any case.
    """

    id: int
    name: str
    description: str
    version: int
    document_count: int
    chunk_count: int
    created_at: datetime
    updated_at: datetime
    readers: Sequence[str] | None = None
    writers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A person of a tenant. `email` is in lower case; `role` is owner, admin or member."""

    id: int
    email: str
    name: str
    role: str
    created_at: datetime
    disabled_at: datetime | None


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


AuditResult = Literal["ok", "denied", "limited", "not_found", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, to which object, and how it ended; nothing of what was said or stored.

    `action` is a noun and a verb ("agent.delete"), `address` the caller's IP address, `status` that
    of HTTP and 0 for a command. `count` is how many there were of a kind within a moment.
    """

    tenant_id: int
    at: datetime
    subject: str
    role: str
    action: str
    object_kind: str
    object_id: str | None
    result: AuditResult
    status: int
    request_id: str = ""
    address: str | None = None
    count: int = 1
    # Which entry it is, wherever it is sent again; those of before this have none.
    entry_id: UUID | None = field(default_factory=uuid4, compare=False)


@dataclass(frozen=True, slots=True)
class AuditRecord(AuditEntry):
    """An entry as it is kept."""

    id: int = 0


class AuditLog(Protocol):
    async def append(self, entries: Sequence[AuditEntry]) -> None:
        """Keep these of one tenant, all or none. Raises DatabaseUnavailable."""
        ...

    async def list(
        self,
        scope: Scope,
        limit: int,
        after: str | None,
        subject: str | None = None,
        action: str | None = None,
    ) -> Page[AuditRecord]:
        """The tenant's entries, latest first; none for a role that is not owner."""
        ...

    async def holder_of(self, claim: Claim) -> Scope | None:
        """Whose the credential is or was, also where it is no longer good; None where nobody
        knows it."""
        ...


class Agents(Protocol):
    async def create(self, scope: Scope, values: Mapping[str, Any]) -> AgentRecord:
        """`values` are AgentRecord's settable fields and `api_key`; Conflict when the name is
        taken or no key can be kept, NotFound when one of its portfolios is not this tenant's."""
        ...

    async def list(
        self, caller: Scope | Claim, limit: int, after: str | None
    ) -> Page[AgentRecord]: ...

    async def get(self, caller: Scope | Claim, agent_id: int) -> AgentRecord: ...

    async def update(self, scope: Scope, agent_id: int, values: Mapping[str, Any]) -> AgentRecord:
        """Change the given fields and raise `version`. Another `base_url` or `provider` without
        a new `api_key` clears the one there was."""
        ...

    async def delete(self, scope: Scope, agent_id: int) -> None:
        """Remove the agent with its conversations."""
        ...


class Portfolios(Protocol):
    async def create(self, scope: Scope, values: Mapping[str, Any]) -> PortfolioRecord:
        """`values`: name, description, readers, writers. Conflict when the name is taken,
        InvalidInput for somebody in a list who is not there."""
        ...

    async def list(
        self, caller: Scope | Claim, limit: int, after: str | None
    ) -> Page[PortfolioRecord]: ...

    async def get(self, caller: Scope | Claim, portfolio_id: int) -> PortfolioRecord: ...

    async def update(
        self, scope: Scope, portfolio_id: int, values: Mapping[str, Any]
    ) -> PortfolioRecord: ...

    async def check_writable(self, scope: Scope, portfolio_id: int) -> None:
        """Raise NotFound for one that the scope does not see, Forbidden for one that it may not
        add documents to or take them from."""
        ...

    async def delete(self, scope: Scope, portfolio_id: int) -> None:
        """Remove the portfolio with every document, chunk, vector and pending upload of it;
        agents that used it keep running without one."""
        ...


class Users(Protocol):
    async def create(self, scope: Scope, values: Mapping[str, Any]) -> UserRecord:
        """`values`: email, name, role. Conflict when the tenant has this address already,
        Forbidden for a role above the scope's."""
        ...

    async def list(self, scope: Scope, limit: int, after: str | None) -> Page[UserRecord]: ...

    async def get(self, scope: Scope, user_id: int) -> UserRecord: ...

    async def find(self, scope: Scope, email: str) -> UserRecord:
        """By the address, in whatever case."""
        ...

    async def update(self, scope: Scope, user_id: int, values: Mapping[str, Any]) -> UserRecord:
        """`values`: email, name, role, disabled, sign_out_everywhere. Who is disabled is nobody
        from then on, by whichever credential; `sign_out_everywhere` (True) ends their sessions and
        refuses the tokens of before. Forbidden for who is, or would be, above the scope's role,
        Conflict for the tenant's last owner."""
        ...

    async def delete(self, scope: Scope, user_id: int) -> None:
        """Remove the user with every key, session and conversation of theirs. Raises as
        `update`."""
        ...


class History(Protocol):
    async def list(
        self, caller: Scope | Claim, limit: int, after: str | None
    ) -> Page[ConversationRecord]: ...

    async def get(
        self, caller: Scope | Claim, conversation_id: UUID
    ) -> tuple[ConversationRecord, Sequence[MessageRecord]]: ...

    async def delete(self, scope: Scope, conversation_id: UUID) -> None: ...


class Invalidation(Protocol):
    async def raise_epoch(
        self, scope: Scope, agent_id: int | None, portfolio_id: int | None
    ) -> None:
        """Make every cached answer of the agent, of the portfolio, or (both None) of the tenant
        unreachable: cache keys contain these epochs. NotFound for unknown or foreign ids."""
        ...


UNKNOWN = "This credential is unknown, expired or revoked."


class Credentials(Protocol):
    async def resolve(self, claim: Claim) -> Scope | None:
        """The scope of a credential that exists, is not revoked and has not expired, else None."""
        ...

    async def resolve_all(self, claims: Sequence[Claim]) -> Sequence[Scope | None]:
        """The same of several at once, in their order."""
        ...

    def claim(self, key: str) -> Claim | None:
        """What stands for an API key or a session until something is done with it, in one round
        trip for both; None for what cannot be one."""
        ...

    async def create(self, tenant: str, name: str) -> str:
        """Make an API key for the tenant (created when new) and return it, this once."""
        ...

    async def owner_of(self, tenant: str, *, create: bool = False) -> Scope:
        """The owner of the tenant of this name, for whoever administers the server. NotFound where
        there is none, unless it is to be made."""
        ...

    async def default_scope(self) -> Scope:
        """The owner of the `default` tenant."""
        ...
