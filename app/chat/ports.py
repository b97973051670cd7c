"""What the core asks of the outside. Adapters live in stores, providers, encoder, retrieval."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from app.chat.model import (
    Agent,
    ChatMessage,
    Citation,
    Claim,
    Ids,
    Passage,
    Portfolio,
    QueryComplexity,
    Question,
    Scope,
    Usage,
    Vector,
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything a question needs to know from Postgres, read in one round trip.

    `persona` is the portfolio that the agent speaks from. `history` is oldest first.
    `tenant_epoch` rises when the tenant's caches are invalidated. `scope` is whose key it was,
    where that was not known before.
    """

    agent: Agent
    portfolio: Portfolio | None
    history: Sequence[ChatMessage]
    tenant_epoch: int = 0
    persona: Portfolio | None = None
    scope: Scope | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with its answer.

    `status` is "streaming", "complete", "interrupted" or "error"; `new_conversation` creates the
    row. Of `sources` what a reader is told of them is stored, not their text.
    """

    run_id: UUID
    conversation_id: UUID
    new_conversation: bool
    question_id: UUID
    message_id: UUID
    agent_id: int
    question: str
    answer: str
    citations: Sequence[Citation]
    status: str
    cached: bool
    language: str
    complexity: QueryComplexity
    finish_reason: str | None
    error_code: str | None
    usage: Usage
    timings_ms: Mapping[str, float]
    degraded: Sequence[str]
    sources: Sequence[Passage]
    top_k: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a caller calls a request, so that it can be sent again: `key` as it came, and a digest
    of everything that the request asks."""

    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Begun:
    """What `begin_turn` came to. `fresh` says that the caller is to produce the answer, under
    these ids; otherwise it was, or is being, produced as this run."""

    fresh: bool
    ids: Ids


class Conversations(Protocol):
    """The source of truth for agents, versions and history on the question path."""

    async def load(self, scope: Scope | Claim, question: Question) -> Loaded:
        """Agent, portfolio, versions and recent history; NotFound for unknown or foreign ids,
        Unauthorized where nobody has the key that is claimed."""
        ...

    async def begin_turn(self, scope: Scope, turn: Turn, key: IdempotencyKey | None) -> Begun:
        """Store the question and a run that is `streaming`, in one transaction.

        With a key that was used before, by the same caller within a day: its run where that is
        complete or being produced; where it failed, or its process died, the same ids again.
        IdempotencyMismatch where the digest is another one."""
        ...

    async def find_run(self, scope: Scope, run_id: UUID) -> Turn:
        """A run as it is stored, `streaming` while it is being produced; NotFound."""
        ...

    async def streaming(
        self, scope: Scope, conversation_id: UUID | None, agent_id: int | None
    ) -> Sequence[UUID]:
        """The runs that are being produced, of the conversation or the agent."""
        ...

    async def store_turn(self, scope: Scope, turn: Turn) -> None:
        """Store both messages, the citations and the run in one transaction, in the place of what
        was begun."""
        ...


@dataclass(frozen=True, slots=True)
class RetrievalRequest:
    """What to look for, in one portfolio. `sources` None means all that are switched on;
    `encoder` is the portfolio's, None where the caller does not know it. `persona_id` is the
    portfolio of the agent's own voice, with its encoder."""

    query: str
    portfolio_id: int
    top_k: int
    language: str
    complexity: QueryComplexity = QueryComplexity.MEDIUM
    filters: Mapping[str, Any] = field(default_factory=dict)
    sources: Sequence[str] | None = None
    encoder: str | None = None
    persona_id: int | None = None
    persona_encoder: str | None = None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Passages numbered from 1, best first; per-stage times; names of what failed."""

    passages: Sequence[Passage]
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    degraded: Sequence[str] = ()


class Retriever(Protocol):
    """Finds passages. A failing source never fails the call; it is named in `degraded`."""

    async def retrieve(self, scope: Scope, request: RetrievalRequest) -> Retrieval: ...


class Encoder(Protocol):
    """Turns text into vectors of `dimension`, normalised to length 1.

    `name` identifies model and revision; vectors of two names never meet. `languages` are the
    codes of those that it was trained for, "*" for many or where nobody says.
    Raises EncoderUnavailable, and TextNotEncodable where a text alone is the reason.
    """

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def languages(self) -> Collection[str]: ...

    async def embed_query(self, text: str) -> Vector: ...

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]: ...


class ExpectedVector(Protocol):
    """One that is looked up and not encoded, until it is known whether it is needed."""

    def encode(self) -> None:
        """Encode it now, unless it is found: `embed_query` is to come."""
        ...

    def leave(self) -> None:
        """It is expected no longer; to be called once, whatever came of it."""
        ...


class QueryVectors(Protocol):
    """Where the questions' vectors are remembered."""

    def expect(self, encoder: str, text: str) -> ExpectedVector | None:
        """Look up the vector of a text that `embed_query` of the encoder with this name may be
        asked for; None where there is nothing to wait for."""
        ...


class Cache(Protocol):
    """A byte cache that may be lost at any moment: every failure is a miss, never an error.

    `tags` name what an entry belongs to ("tenant:{1}", "agent:{1}:2", "portfolio:{1}:3"), so that
    `drop` can free it early and count what it freed.
    """

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """The entries, in the order of the keys, which are alternatives: what stands behind one
        that was found may be None."""
        ...

    async def put(self, key: str, value: bytes, ttl_seconds: int, tags: Sequence[str]) -> None: ...

    async def drop(self, tag: str) -> int:
        """How many entries the tag had. They may be freed later than this returns."""
        ...


class AnswerCache(Cache, Protocol):
    """One that has the hottest entries in this process."""

    def at_hand(self, key: str) -> bytes | None:
        """The entry where it takes no waiting; None also where it has to be looked for."""
        ...


@dataclass(frozen=True, slots=True)
class SimilarQuestion:
    """A question whose answer was cached under `answer_key`; `similarity` is the cosine."""

    question: str
    answer_key: str
    similarity: float


class SemanticCache(Protocol):
    """Questions with cached answers, by meaning. May be lost at any moment, as `Cache`.

    `scope` is the key of all that they have in common (`app.chat.cache.semantic_key`): what is in
    another scope is never looked at. Vectors have length 1 and are of one encoder a scope.
    """

    async def nearest(
        self, scope: str, vector: Vector, at_least: float
    ) -> Sequence[SimilarQuestion]:
        """Those whose cosine is at least that, best first; only a few."""
        ...

    async def add(
        self,
        scope: str,
        vector: Vector,
        question: str,
        answer_key: str,
        ttl_seconds: int,
        tags: Sequence[str],
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a provider is given. `messages` is complete for a language model; the extractive
    provider reads `question`, `passages` and `language` instead."""

    messages: Sequence[ChatMessage]
    question: str
    passages: Sequence[Passage]
    language: str
    complexity: QueryComplexity
    max_tokens: int
    temperature: float


@dataclass(frozen=True, slots=True)
class Finish:
    """The last item of a provider's stream: why it ended, as the provider said, and its usage.
    `degraded` names what failed on the way, where the answer is not what the agent's own provider
    would have said."""

    reason: str
    usage: Usage | None = None
    degraded: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """The most that one answer may take of a model, before anything of it is there."""

    model: str
    prompt_tokens: int
    completion_tokens: int


class Reserved(Protocol):
    """What was set aside for one answer; its budget alone knows what that is."""


Reserve = Callable[[Scope, Demand], Awaitable[Reserved]]
"""Sets aside what an answer may take. RateLimited or QuotaExceeded where the caller has no more."""


class Budget(Protocol):
    """What callers may spend on models. The run that asks a model pays for all who share it."""

    @property
    def reserve(self) -> Reserve | None:
        """To be asked before an answer is begun; None where nothing is limited."""
        ...

    def settle(self, scope: Scope, model: str, usage: Usage, reserved: Reserved | None) -> None:
        """The answer has come to its end, whichever, and has taken this. Once for each."""
        ...


class Provider(Protocol):
    """A language model. `name`/`model` identify it in cache keys and usage.

    `uses_history` is False where earlier turns cannot change the answer.
    """

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def uses_history(self) -> bool: ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[list[str] | Finish, None]:
        """Yield non-empty text deltas, those together that came together, then exactly one Finish.

        Raises a ProviderError; a stream that ends without the provider's own finish raises
        ProviderTruncated. `aclose()` closes the upstream call.
        """
        ...


class Providers(Protocol):
    """Resolves an agent to the provider that answers for it."""

    def for_agent(self, agent: Agent) -> Provider:
        """The provider; InvalidInput when the agent names one that is not configured."""
        ...
