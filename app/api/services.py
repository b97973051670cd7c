"""Everything the HTTP layer works with, built once by the composition root.

Commands use it too: it imports Starlette's names, which are FastAPI's, and nothing of FastAPI.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from starlette.requests import Request

from app.api.revocation import Revocation
from app.chat.administration import (
    Agents,
    AuditLog,
    Credentials,
    History,
    Invalidation,
    Portfolios,
    Users,
)
from app.chat.engine import Engine
from app.chat.journal import Journal
from app.chat.keys import Keys, Sessions
from app.chat.model import Agent, Scope
from app.chat.ports import Cache, Providers, Retriever
from app.identity.tokens import Identified
from app.ingest.ingestor import Ingestor
from app.ingest.ports import Documents, Reader
from app.limits.ports import DayOfUse
from app.limits.spending import Spending
from app.outgoing.fetch import Pages
from app.performance import PerformanceMonitor


class Tokens(Protocol):
    """Of people, from the issuers that are configured."""

    async def verify(self, token: str) -> Identified:
        """Who a token says it is. Raises Unauthorized for one that is not valid."""
        ...


class EncoderNumbers(Protocol):
    """What the encoders of this process have done, and how they are."""

    def statistics(self) -> Mapping[str, int]:
        """Vectors of questions since the start: local_hits, shared_hits, joined, encoded."""
        ...

    def connections(self) -> Mapping[str, Mapping[str, int]]:
        """To each, by what it is configured as (see `PoolNumbers`)."""
        ...

    def availability(self) -> Mapping[str, bool]:
        """Whether each can encode now, by what it is configured as: `main`, `next`."""
        ...


class CountedCache(Cache, Protocol):
    """The cache of this process, with what it and the layers around it have done."""

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """Since the start, by layer. `answers`, `passages` and `semantic` have lookups,
        local_hits, shared_hits and puts; `local` and `redis` say how those two are."""
        ...

    def connections(self) -> Mapping[str, Mapping[str, int]]:
        """To what is behind it (see `PoolNumbers`)."""
        ...


class PoolNumbers(Protocol):
    """Connections of this process."""

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """Of each pool, now: size, open, in_use, waiting; since the start: acquired, opened. One
        that does not know a number leaves it out."""
        ...


class ProviderNumbers(Providers, PoolNumbers, Protocol):
    """The models' vendors, their connections, and how they are."""

    def breakers(self) -> Mapping[str, str]:
        """By provider: "closed", "half open" or "open", while it is left alone."""
        ...

    def check(self, agent: Agent, *, own_key: bool) -> None:
        """Raise InvalidInput for an agent that nobody could answer for; `own_key` says that it
        has a key of its own."""
        ...


class Performance(Protocol):
    """What all processes have measured."""

    async def report(self) -> Mapping[str, Any]:
        """Merged over all that are known; `scope` says which these are."""
        ...


class Usage(Protocol):
    """What callers have taken of models."""

    async def daily(self, scope: Scope, days: int) -> Sequence[DayOfUse]:
        """The tenant's, today and on the days before, latest first."""
        ...


@dataclass(frozen=True)
class Services:
    """The ports behind the routes, and what the operator has decided about them.

    `anonymous_owner`: a request from this machine without a credential is the default tenant's
    owner. `secure_cookies`: the page's is for https alone, also where a request seems to come
    without. `readiness` gives each dependency's state: "ok", "degraded: …" (answers are still
    given) or "down: …" (they are not).
    """

    engine: Engine
    agents: Agents
    portfolios: Portfolios
    history: History
    documents: Documents
    ingestor: Ingestor
    reader: Reader
    retriever: Retriever
    invalidation: Invalidation
    cache: CountedCache
    database: PoolNumbers
    credentials: Credentials
    tokens: Tokens
    users: Users
    keys: Keys
    sessions: Sessions
    revocation: Revocation
    audit: AuditLog
    journal: Journal
    pages: Pages
    providers: ProviderNumbers
    encoders: EncoderNumbers
    monitor: PerformanceMonitor
    performance: Performance
    anonymous_owner: bool
    secure_cookies: bool
    streaming: bool
    max_request_bytes: int
    max_top_k: int
    readiness: Callable[[], Awaitable[Mapping[str, str]]]
    usage: Usage
    limits: Spending | None = None  # where something is limited


def services_of(request: Request) -> Services:
    """The Services that the lifespan put on the application."""
    return cast(Services, request.app.state.services)
