"""Fakes of the core's ports: what a pipeline needs, in memory, with switches for faults."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from uuid import UUID

from app.api.sse import decode, frame
from app.chat.cached import Cached
from app.chat.engine import Engine
from app.chat.finding import Finder
from app.chat.flights import Alone, Flights
from app.chat.measuring import Measuring
from app.chat.model import Agent, ChatMessage, Ids, Passage, Portfolio, Question, Scope, Usage
from app.chat.pipeline import Pipeline
from app.chat.policy import Policy
from app.chat.ports import (
    Begun,
    Finish,
    IdempotencyKey,
    Loaded,
    Prompt,
    Provider,
    QueryVectors,
    Retrieval,
    RetrievalRequest,
    Turn,
)
from app.chat.runs import Runs
from app.chat.semantic import SemanticAnswers
from app.chat.timing import Stopwatch
from app.errors import AppError, IdempotencyMismatch, NotFound
from app.performance import PerformanceMonitor
from app.stores.run_streams import NoStreams

SCOPE = Scope(tenant_id=1)
AGENT = Agent(1, "default", "You help.", "auto", None, 1, 15, 6000, 0.2, version=1)
PORTFOLIO = Portfolio(1, "sample", version=1, encoder="hash")


def passage(number: int, text: str, start: int = 0) -> Passage:
    return Passage(
        number, number, number, f"Title {number}", None, text, start, start + len(text), 1 / number
    )


@dataclass
class MemoryConversations:
    """Agents, versions and turns; `turns` is what was stored, in order."""

    agent: Agent = AGENT
    portfolio: Portfolio | None = PORTFOLIO
    history: Sequence[ChatMessage] = ()
    tenant_epoch: int = 0
    turns: list[Turn] = field(default_factory=list)
    fail_storing: AppError | None = None
    keys: dict[tuple[str, str], tuple[bytes, Ids]] = field(default_factory=dict)
    began: dict[UUID, Turn] = field(default_factory=dict)

    async def load(self, scope: Scope, question: Question) -> Loaded:
        if question.agent not in (self.agent.id, self.agent.name):
            raise NotFound
        return Loaded(self.agent, self.portfolio, self.history, self.tenant_epoch)

    async def begin_turn(self, scope: Scope, turn: Turn, key: IdempotencyKey | None) -> Begun:
        ids = Ids(turn.run_id, turn.conversation_id, turn.question_id, turn.message_id)
        if key is not None:
            digest, ids_before = self.keys.setdefault((scope.subject, key.key), (key.digest, ids))
            if digest != key.digest:
                raise IdempotencyMismatch
            if ids_before != ids and self.began[ids_before.run].status in ("streaming", "complete"):
                return Begun(False, ids_before)
            ids = ids_before
        self.began[ids.run] = turn
        return Begun(True, ids)

    async def find_run(self, scope: Scope, run_id: UUID) -> Turn:
        if run_id not in self.began:
            raise NotFound
        return self.began[run_id]

    async def streaming(
        self, scope: Scope, conversation_id: UUID | None, agent_id: int | None
    ) -> Sequence[UUID]:
        return [
            each.run_id
            for each in self.began.values()
            if each.status == "streaming"
            and (each.conversation_id == conversation_id or each.agent_id == agent_id)
        ]

    async def store_turn(self, scope: Scope, turn: Turn) -> None:
        self.began[turn.run_id] = turn
        if self.fail_storing is not None:
            raise self.fail_storing
        self.turns.append(turn)


@dataclass
class ListRetriever:
    """Answers every request with the same passages."""

    passages: Sequence[Passage] = ()
    degraded: Sequence[str] = ()
    requests: list[RetrievalRequest] = field(default_factory=list)

    async def retrieve(self, scope: Scope, request: RetrievalRequest) -> Retrieval:
        self.requests.append(request)
        return Retrieval(self.passages[: request.top_k], {"vector": 1.0}, self.degraded)


class NoVectors:
    """Expects none; the retrievers here need none."""

    def expect(self, encoder: str, text: str) -> None:
        return None


@dataclass
class MemoryCache:
    """The cache port in a dict; `hang` makes look-ups wait for ever, like a stopped Redis; with
    `near` all entries are at hand."""

    entries: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, set[str]] = field(default_factory=dict)
    ttls: dict[str, int] = field(default_factory=dict)
    hang: bool = False
    near: bool = False

    def at_hand(self, key: str) -> bytes | None:
        return self.entries.get(key) if self.near else None

    async def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        if self.hang:
            await asyncio.Event().wait()
        return [self.entries.get(key) for key in keys]

    async def put(self, key: str, value: bytes, ttl_seconds: int, tags: Sequence[str]) -> None:
        self.entries[key] = value
        self.ttls[key] = ttl_seconds
        for tag in tags:
            self.tags.setdefault(tag, set()).add(key)

    async def drop(self, tag: str) -> int:
        keys = self.tags.pop(tag, set())
        return sum(self.entries.pop(key, None) is not None for key in keys)


@dataclass
class ScriptedProvider:
    """Streams `deltas`, then finishes; or raises `error` after them; or waits at `gate`."""

    deltas: Sequence[str] = ("The answer ", "is here [1].")
    finish: Finish = field(default_factory=lambda: Finish("stop", Usage(10, 5)))
    error: AppError | None = None
    gate: asyncio.Event | None = None
    name: str = "scripted"
    model: str = "scripted-1"
    uses_history: bool = True
    prompts: list[Prompt] = field(default_factory=list)
    closed: int = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[list[str] | Finish, None]:
        self.prompts.append(prompt)
        try:
            for delta in self.deltas:
                yield [delta]
            if self.gate is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error
            yield self.finish
        finally:
            self.closed += 1

    def for_agent(self, agent: Agent) -> Provider:
        return self


@dataclass
class Core:
    """An engine on fakes, with the fakes at hand."""

    conversations: MemoryConversations = field(default_factory=MemoryConversations)
    retriever: ListRetriever = field(
        default_factory=lambda: ListRetriever([passage(1, "The answer is here.")])
    )
    cache: MemoryCache = field(default_factory=MemoryCache)
    provider: ScriptedProvider = field(default_factory=ScriptedProvider)
    policy: Policy = field(default_factory=lambda: Policy())
    semantic: SemanticAnswers | None = None
    vectors: QueryVectors = field(default_factory=NoVectors)

    def engine(self, measuring: Measuring | None = None) -> Engine:
        runs, clock = Runs(), ticking()
        pipeline = Pipeline(
            conversations=self.conversations,
            finder=self._finder(runs),
            unshared=self._finder(Runs()),
            providers=self.provider,
            policy=self.policy,
            stopwatch=lambda: Stopwatch(clock),
            new_id=numbered(),
            nonce=lambda: "nonce",
            measuring=measuring or Measuring(PerformanceMonitor(ticking()), slow_seconds=60),
        )
        cached = Cached(self.cache, default_scope, "")
        monitor = PerformanceMonitor(ticking())
        return Engine(pipeline, runs, default_scope, frame, NoStreams(), cached, monitor)

    def _finder(self, runs: Runs) -> Finder:
        return Finder(
            retriever=self.retriever,
            vectors=self.vectors,
            cache=self.cache,
            second_look=self.cache,
            semantic=self.semantic,
            flights=Flights(runs, Alone(), NoStreams(), decode),
            policy=self.policy,
        )


async def default_scope() -> Scope:
    return SCOPE


def ticking() -> Callable[[], float]:
    """A clock that goes on by a millisecond a look."""
    ticks = count()
    return lambda: next(ticks) / 1000


def numbered() -> Callable[[], UUID]:
    numbers = count(1)
    return lambda: UUID(int=next(numbers))
