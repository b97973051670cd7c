"""Everything the HTTP layer works with, built once by the composition root."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from fastapi import Request

from app.chat.administration import Agents, Credentials, History, Invalidation, Portfolios
from app.chat.engine import Engine
from app.chat.ports import Cache, Providers, Retriever
from app.ingest.ingestor import Ingestor
from app.ingest.ports import Documents
from app.performance import PerformanceMonitor


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


class Performance(Protocol):
    """What all processes have measured."""

    async def report(self) -> Mapping[str, Any]:
        """Merged over all that are known; `scope` says which these are."""
        ...


@dataclass(frozen=True)
class Services:
    """The ports behind the routes, and what the operator has decided about them.

    `anonymous_owner`: a request from this machine without a credential is the default tenant's
    owner. `readiness` gives each dependency's state: "ok", "degraded: …" (answers are still
    given) or "down: …" (they are not).
    """

    engine: Engine
    agents: Agents
    portfolios: Portfolios
    history: History
    documents: Documents
    ingestor: Ingestor
    retriever: Retriever
    invalidation: Invalidation
    cache: CountedCache
    database: PoolNumbers
    credentials: Credentials
    providers: ProviderNumbers
    encoders: EncoderNumbers
    monitor: PerformanceMonitor
    performance: Performance
    anonymous_owner: bool
    streaming: bool
    max_request_bytes: int
    max_top_k: int
    readiness: Callable[[], Awaitable[Mapping[str, str]]]


def services_of(request: Request) -> Services:
    """The Services that the lifespan put on the application."""
    return cast(Services, request.app.state.services)
