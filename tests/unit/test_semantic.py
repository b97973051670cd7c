"""The semantic cache in the way of a question, on fakes: scopes, follow-ups, and what fails."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from app.chat.model import Agent, ChatMessage, Question, Scope, Vector
from app.chat.ports import Loaded, SimilarQuestion
from app.chat.semantic import SemanticAnswers
from app.errors import EncoderUnavailable
from tests.support.core import AGENT, PORTFOLIO, SCOPE, Core, MemoryConversations, passage

ASKED = "What React projects are there?"
SAME = "Please, what React projects are there?"


class OneVector:
    """An encoder to which everything means the same: what differs is the scope and the guards.
    `gate` makes it slow, `fails` unavailable."""

    name = "hash"
    dimension = 2
    languages = ("*",)
    fails = False
    gate: asyncio.Event | None = None

    async def embed_query(self, text: str) -> Vector:
        if self.fails:
            raise EncoderUnavailable
        if self.gate is not None:
            await self.gate.wait()
        return [1.0, 0.0]

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        return [[1.0, 0.0] for _ in texts]


@dataclass
class MemorySemanticCache:
    """The port in a dict: every question of a scope is as near as can be."""

    scopes: dict[str, list[SimilarQuestion]] = field(default_factory=dict)

    async def nearest(
        self, scope: str, vector: Vector, at_least: float
    ) -> Sequence[SimilarQuestion]:
        return self.scopes.get(scope, [])

    async def add(
        self,
        scope: str,
        vector: Vector,
        question: str,
        answer_key: str,
        ttl_seconds: int,
        tags: Sequence[str],
    ) -> None:
        self.scopes.setdefault(scope, []).append(SimilarQuestion(question, answer_key, 1.0))


def core_with(encoder: OneVector | None = None, threshold: float = 0.95) -> Core:
    core, encoder = Core(), encoder or OneVector()
    encoders = dict.fromkeys(("hash", "another"), encoder)
    core.semantic = SemanticAnswers(MemorySemanticCache(), core.cache, encoders, threshold)
    return core


async def cached(core: Core, message: str, **options: Any) -> bool:
    return (await core.engine().ask(message, **options)).done.cached


async def test_it_hits_in_its_scope_and_tells_what_it_took() -> None:
    core = core_with()
    assert not await cached(core, ASKED)
    answer = await core.engine().ask(SAME)
    assert answer.done.cached and "semantic" in answer.done.timings_ms
    assert len(core.provider.prompts) == 1
    assert [turn.cached for turn in core.conversations.turns] == [False, True]


@pytest.mark.parametrize(
    "change",
    [
        {"portfolio": replace(PORTFOLIO, version=2)},
        {"portfolio": replace(PORTFOLIO, cache_epoch=1)},
        {"portfolio": replace(PORTFOLIO, id=2)},
        {"portfolio": replace(PORTFOLIO, encoder="another")},
        {"portfolio": None},
        {"tenant_epoch": 1},
        {"history": [ChatMessage("user", "Hi"), ChatMessage("assistant", "Hello")]},
        {"agent": replace(AGENT, version=2)},
        {"agent": replace(AGENT, cache_epoch=1)},
        {"agent": replace(AGENT, max_tokens=100)},
        {"agent": replace(AGENT, top_k=2)},
        {"agent": replace(AGENT, semantic_threshold=1.0)},
    ],
    ids=str,
)
async def test_whatever_the_answer_depends_on_makes_another_scope(change: dict[str, Any]) -> None:
    core = core_with()
    await cached(core, ASKED)
    for name, value in change.items():
        setattr(core.conversations, name, value)
    assert not await cached(core, SAME)


@pytest.mark.parametrize(
    "options",
    [{"filters": {"team": "web"}}, {"language": "es"}, {"cache": "off"}, {"cache": "refresh"},
     {"scope": replace(SCOPE, tenant_id=2)}],
    ids=str,
)  # fmt: skip
async def test_other_options_do_not_hit(options: dict[str, Any]) -> None:
    core = core_with()
    await cached(core, ASKED)
    assert not await cached(core, SAME, **options)


@pytest.mark.parametrize(
    "policy", [{"installation": "other"}, {"sources": ("vector",)},
               {"addresses": {"scripted": "http://other/v1"}}], ids=str
)  # fmt: skip
async def test_another_installation_source_or_address_does_not_hit(policy: dict[str, Any]) -> None:
    core = core_with()
    await cached(core, ASKED)
    core.policy = replace(core.policy, **policy)
    assert not await cached(core, SAME)


@dataclass
class ManyAgents(MemoryConversations):
    """Agents of every number, with an own portfolio each, whichever tenant asks."""

    async def load(self, scope: Scope, question: Question) -> Loaded:
        number = int(question.agent)
        agent: Agent = replace(self.agent, id=number)
        return Loaded(agent, replace(PORTFOLIO, id=number), ())


async def test_colliding_questions_hit_inside_each_scope_and_never_between() -> None:
    """To the encoder all questions are one, so a single leak of a scope would be a hit."""
    core = core_with()
    core.conversations = ManyAgents()
    engine = core.engine()
    hits = 0
    for wording in (ASKED, SAME, "Hello, which React projects are there?"):
        for tenant in (1, 2, 3):
            for agent in range(1, 31):
                core.provider.deltas = (f"tenant {tenant}, agent {agent} [1].",)
                scope = Scope(tenant_id=tenant)
                answer = await engine.ask(wording, agent=agent, scope=scope)
                assert answer.text == f"tenant {tenant}, agent {agent} [1]."
                hits += answer.done.cached
    assert hits == 2 * 3 * 30
    assert len(core.provider.prompts) == 3 * 30


async def test_a_follow_up_never_hits_nor_fills_what_has_no_context() -> None:
    core = core_with()
    core.provider.uses_history = False
    said = [ChatMessage("user", ASKED), ChatMessage("assistant", "Atlas and Zephyr.")]
    first = await core.engine().ask("and the second one?")
    core.conversations.history = said
    conversation = first.done.conversation_id
    assert not await cached(core, "and the second one?", conversation_id=conversation)
    core.conversations.history = ()
    assert not await cached(core, "how old is he?", conversation_id=conversation)
    assert not await cached(core, "how old is he?")
    # What does not depend on the conversation is the same in every one.
    core.conversations.history = said
    assert not await cached(core, ASKED, conversation_id=conversation)
    core.conversations.history = ()
    assert await cached(core, ASKED)


async def test_without_its_encoder_a_question_is_answered_all_the_same() -> None:
    encoder = OneVector()
    core = core_with(encoder)
    encoder.fails = True
    assert not await cached(core, ASKED)
    encoder.fails = False
    assert not await cached(core, SAME)


async def test_a_vector_that_never_comes_delays_neither_a_hit_nor_a_miss() -> None:
    encoder = OneVector()
    core = core_with(encoder)
    encoder.gate = asyncio.Event()
    async with asyncio.timeout(2):
        assert not await cached(core, ASKED)
        assert await cached(core, ASKED)


async def test_an_answer_that_is_gone_is_a_miss() -> None:
    core = core_with()
    await cached(core, ASKED)
    core.cache.entries.clear()
    assert not await cached(core, SAME)


async def test_a_degraded_answer_is_not_found_again() -> None:
    core = core_with()
    core.retriever.degraded = ("keyword",)
    await cached(core, ASKED)
    core.retriever.degraded = ()
    assert not await cached(core, SAME)


async def test_a_long_question_is_not_compared() -> None:
    core = core_with()
    long = "What React projects are there in the list " + "of things " * 40
    await cached(core, long)
    assert not await cached(core, f"please {long}")


async def test_the_passages_of_a_hit_are_those_of_its_answer() -> None:
    core = core_with()
    first = await core.engine().ask(ASKED)
    core.retriever.passages = [passage(2, "Another.")]
    again = await core.engine().ask(SAME)
    assert again.done.citations == first.done.citations
