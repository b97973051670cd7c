"""The typed events of one answer: the stream endpoint encodes them, the sync one folds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from app.chat.model import Citation, Passage, QueryComplexity, Usage


@dataclass(frozen=True, slots=True)
class Start:
    run_id: UUID
    conversation_id: UUID
    message_id: UUID


@dataclass(frozen=True, slots=True)
class Sources:
    passages: Sequence[Passage]


@dataclass(frozen=True, slots=True)
class Token:
    content: str


@dataclass(frozen=True, slots=True)
class Done:
    """Every field of the whole answer but the text."""

    citations: Sequence[Citation]
    cached: bool
    run_id: UUID
    conversation_id: UUID
    message_id: UUID
    complexity: QueryComplexity
    top_k: int
    max_tokens: int
    language: str
    usage: Usage
    timings_ms: Mapping[str, float]
    degraded: Sequence[str]
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The `error` event: the answer is not complete and never looks so."""

    code: str
    message: str
    retryable: bool
    status: int


Event: TypeAlias = Start | Sources | Token | Done | Failed
# As a run is told them: of a token, of which there are many, its text alone.
Said: TypeAlias = Event | str
Terminal: TypeAlias = Done | Failed


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: the text and everything `Done` says of it."""

    text: str
    done: Done
