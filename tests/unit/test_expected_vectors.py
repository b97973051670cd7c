"""Which questions' vectors are looked up beforehand, and when one is encoded: first of all, but for
no question that needs none."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.chat.model import ChatMessage, Portfolio, Scope
from app.chat.ports import Begun, IdempotencyKey, Loaded, Question, Turn
from tests.support.core import AGENT, Core, MemoryConversations, passage
from tests.support.waiting import until

QUESTION = "What React projects are there?"
FOLLOW_UP = "Who led it?"
SAID = [ChatMessage("user", "What is Atlas?"), ChatMessage("assistant", "A project [1].")]
SOURCES = ("vector", "keyword", "graph", "persona", "domain")


@dataclass
class Vectors:
    """Notes in `happened` what becomes of those that are expected."""

    happened: list[str]
    expected: list[tuple[str, str]] = field(default_factory=list)

    def expect(self, encoder: str, text: str) -> "Vectors":
        self.expected.append((encoder, text))
        return self

    def encode(self) -> None:
        self.happened.append("encode")

    def leave(self) -> None:
        self.happened.append("leave")


@dataclass
class Noting(MemoryConversations):
    """Notes in `happened` when a question is begun to be stored."""

    happened: list[str] = field(default_factory=list)
    persona: Portfolio | None = None

    async def load(self, scope: Scope, question: Question) -> Loaded:
        return replace(await super().load(scope, question), persona=self.persona)

    async def begin_turn(self, scope: Scope, turn: Turn, key: IdempotencyKey | None) -> Begun:
        self.happened.append("begin")
        return await super().begin_turn(scope, turn, key)


def core_of(sources: Sequence[str] = SOURCES) -> tuple[Core, Noting, Vectors]:
    conversations = Noting()
    vectors = Vectors(conversations.happened)
    policy = replace(Core().policy, sources=sources)
    return Core(conversations, policy=policy, vectors=vectors), conversations, vectors


async def test_the_vector_is_encoded_before_the_question_is_stored() -> None:
    core, conversations, vectors = core_of()
    await core.engine().ask(QUESTION)
    assert vectors.expected == [("hash", QUESTION)]
    assert conversations.happened == ["encode", "begin", "leave"]


async def test_a_cached_answer_needs_no_vector_and_one_at_hand_expects_none() -> None:
    core, conversations, vectors = core_of()
    engine = core.engine()
    await engine.ask(QUESTION)
    del conversations.happened[:], vectors.expected[:]
    assert (await engine.ask(QUESTION)).done.cached
    assert conversations.happened == ["leave"]
    del vectors.expected[:]
    core.cache.near = True
    assert (await engine.ask(QUESTION)).done.cached
    assert vectors.expected == []


async def test_cached_passages_need_no_vector() -> None:
    core, conversations, _ = core_of()
    await core.engine().ask(QUESTION)
    del conversations.happened[:]
    conversations.agent = replace(AGENT, id=2, name="other")
    assert not (await core.engine().ask(QUESTION, agent="other")).done.cached
    assert conversations.happened == ["begin", "leave"]


async def test_who_shares_anothers_answer_needs_no_vector() -> None:
    core, conversations, _ = core_of()
    core.provider.gate = asyncio.Event()
    engine = core.engine()
    first = asyncio.create_task(engine.ask(QUESTION))
    await until(lambda: "leave" in conversations.happened)
    del conversations.happened[:]
    second = asyncio.create_task(engine.ask(QUESTION))
    await until(lambda: "begin" in conversations.happened)
    core.provider.gate.set()
    await asyncio.gather(first, second)
    assert sorted(conversations.happened) == ["begin", "leave"]


async def test_who_is_cancelled_expects_it_no_longer() -> None:
    core, conversations, _ = core_of()
    started = asyncio.Event()

    async def retrieve(*_: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    core.retriever.retrieve = retrieve  # type: ignore[method-assign,assignment]
    engine = core.engine()
    asked = asyncio.create_task(engine.ask(QUESTION))
    await started.wait()
    asked.cancel()
    await asyncio.wait({asked})
    await engine.close()
    assert conversations.happened == ["encode", "begin", "leave"]


def without_portfolio(conversations: Noting) -> None:
    conversations.portfolio = None


def with_a_voice_alone(conversations: Noting) -> None:
    conversations.portfolio, conversations.persona = None, Portfolio(2, "voice", 1, "other")


@pytest.mark.parametrize(
    ("sources", "change", "message", "expected"),
    [
        (["keyword", "domain"], None, QUESTION, [("hash", QUESTION)]),
        (["keyword", "graph", "persona"], None, QUESTION, []),
        (SOURCES, None, "hello", []),
        (SOURCES, without_portfolio, QUESTION, []),
        (SOURCES, with_a_voice_alone, QUESTION, [("other", QUESTION)]),
        (["vector"], with_a_voice_alone, QUESTION, []),
    ],
)
async def test_one_is_expected_where_a_source_searches_with_it(
    sources: Sequence[str],
    change: Callable[[Noting], None] | None,
    message: str,
    expected: list[tuple[str, str]],
) -> None:
    core, conversations, vectors = core_of(sources)
    if change is not None:
        change(conversations)
    await core.engine().ask(message)
    assert vectors.expected == expected


@pytest.mark.parametrize("by_rules", [True, False])
async def test_a_follow_up_expects_one_where_rules_make_it_a_question(by_rules: bool) -> None:
    core, conversations, vectors = core_of()
    conversations.history = SAID
    core.provider.uses_history = not by_rules
    core.retriever.passages = [passage(1, "Atlas was led by Ada.")]
    conversation = (await core.engine().ask(QUESTION)).done.conversation_id
    del vectors.expected[:]
    await core.engine().ask(FOLLOW_UP, conversation_id=conversation)
    [request] = core.retriever.requests[1:]
    assert vectors.expected == ([("hash", request.query)] if by_rules else [])
    assert not by_rules or request.query == f"What is Atlas? {FOLLOW_UP}"
