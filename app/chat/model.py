"""The values that travel through the core; the words are those of the design's §1."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

Vector: TypeAlias = Sequence[float]
CacheMode = Literal["use", "refresh", "off"]
Role = Literal["owner", "admin", "member"]
MAX_MESSAGE_CHARS = 8000
# What is read off a message is remembered for the latest: most answers are found again, and are
# found in less time than reading takes. At most 8,000 characters each.
REMEMBERED_MESSAGES = 500
# A token event stays under 16 KB: at most twelve bytes a character (an escaped pair of surrogates),
# and room for the frame.
MAX_EVENT_CHARS = 1300


class QueryComplexity(enum.StrEnum):
    """How much context and answer a question deserves."""

    TRIVIAL = "trivial"
    SIMPLE = "simple"
    MEDIUM = "medium"
    COMPLEX = "complex"
    COMPREHENSIVE = "comprehensive"


@dataclass(frozen=True, slots=True)
class Scope:
    """On whose behalf something is done. Part of every query and every cache key.

    `subject` is "user:<id>", or "key:<id>" for a key that is no user's; "owner" is whoever sits at
    the server's own machine, and the service itself. `portfolios` are the only ones a limited key
    may use; None is no such limit.
    """

    tenant_id: int
    subject: str = "owner"
    role: Role = "owner"
    portfolios: tuple[int, ...] | None = None

    def may_read(self, asked: "Scope") -> bool:
        """Whether what was asked on that behalf is this one's: the same subject's, and under no
        wider limit than its own."""
        if (self.tenant_id, self.subject) != (asked.tenant_id, asked.subject):
            return False
        if self.portfolios is None:
            return True
        return asked.portfolios is not None and {*asked.portfolios} <= {*self.portfolios}


@dataclass(frozen=True, slots=True)
class Claim:
    """A credential whose scope is not looked up yet: a key's or a session's by its digest, or a
    user's by what a verified token says of him. One that is revoked meanwhile claims nothing."""

    key_digest: bytes | None = None
    user: str | None = None
    tenant: str | None = None
    issued_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """A configured bot. `provider` "auto" means whatever the operator's environment offers.

    `persona_portfolio_id` holds its own voice: who it is, how it speaks. `fallback_provider`
    answers where `provider` fails before its first token. `semantic_threshold` is the least
    cosine at which another question's cached answer is this one's; None is the operator's, 1 none.
    `base_url` is its own provider's address, and `sealed_key` the encrypted key for it; None of
    both is the operator's provider.
    """

    id: int
    name: str
    system_prompt: str
    provider: str
    model: str | None
    portfolio_id: int | None
    top_k: int
    max_tokens: int
    temperature: float
    version: int
    cache_epoch: int = 0
    persona_portfolio_id: int | None = None
    fallback_provider: str | None = None
    fallback_model: str | None = None
    semantic_threshold: float | None = None
    tenant_id: int = 0
    base_url: str | None = None
    sealed_key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Portfolio:
    """A named collection of documents; every content change raises `version`.

    `encoder` is the name of the encoder whose vectors serve it.
    """

    id: int
    name: str
    version: int
    encoder: str
    cache_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What came in, already checked for shape (`app.chat.normalise.check_message`)."""

    agent: int | str
    message: str
    portfolio_id: int | None = None
    conversation_id: UUID | None = None
    language: str | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    cache: CacheMode = "use"


@dataclass(frozen=True, slots=True)
class Ids:
    """The UUIDv7s of one turn, made before anything is produced."""

    run: UUID
    conversation: UUID
    question: UUID
    message: UUID


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk as retrieved for one question.

    `text` is exactly the document's characters `start:end` (code points). `score` is the fused
    score, comparable within one answer only; `similarity` the cosine to the question where the
    vector source found it; `sources` each source's rank, from 1.
    """

    number: int
    chunk_id: int
    document_id: int
    title: str
    uri: str | None
    text: str
    start: int
    end: int
    score: float
    sources: Mapping[str, int] = field(default_factory=dict)
    similarity: float | None = None
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a statement of the answer comes from; `quote` is the document's text `start:end`."""

    number: int
    document_id: int
    chunk_id: int
    title: str
    uri: str | None
    quote: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One row of a conversation as a provider sees it."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them, or as estimated where it did not."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.estimated or other.estimated,
        )
