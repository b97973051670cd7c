"""API keys as their administrators see them, and the sessions that pages sign in with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from app.chat.administration import Page
from app.chat.model import Claim, Scope

# Of a session's secret. A session is presented by its cookie only, a key never.
SESSION_PREFIX = "cs_s_"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key as it is kept: of itself only the last four characters.

    Whoever presents it is `user_id`, or somebody of its own (`key:<id>`). It has at most its user's
    role. `portfolio_ids` are the only ones that it may use; None is no such limit.
    """

    id: int
    name: str
    role: str
    user_id: int | None
    portfolio_ids: Sequence[int] | None
    last4: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened: its secret, this once, and on whose behalf it acts until when."""

    secret: str
    scope: Scope
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a credential belongs to, in words: a user's name or address, or a key's name."""

    tenant: str
    name: str | None
    expires_at: datetime | None


class Keys(Protocol):
    """Sessions are none of them."""

    async def create(self, scope: Scope, values: Mapping[str, Any]) -> tuple[KeyRecord, str]:
        """A new key and its secret, which is told this once. `values`: name, role, user_id,
        portfolio_ids, expires_at. NotFound for a user or a portfolio that the tenant does not have;
        Forbidden for a role, or a user of one, above the scope's; InvalidInput for one above the
        user's, one of a key limited to portfolios that is not member, and a time that is past."""
        ...

    async def list(self, scope: Scope, limit: int, after: str | None) -> Page[KeyRecord]:
        """Those that are not revoked."""
        ...

    async def get(self, scope: Scope, key_id: int) -> KeyRecord: ...

    async def revoke(self, scope: Scope, key_id: int) -> None:
        """It, and every session opened with it, is good for nothing from now on. Conflict where it
        is the tenant's last owner."""
        ...


class Sessions(Protocol):
    async def open(self, claim: Claim) -> Opened | None:
        """A session with the rights of a key or a token; None where that is not good."""
        ...

    async def close(self, scope: Scope, claim: Claim) -> None:
        """End a session; what is none is left alone."""
        ...

    async def holder(self, scope: Scope, claim: Claim | None) -> Holder:
        """Whose the credential of this scope is."""
        ...
