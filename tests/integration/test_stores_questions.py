"""What was asked how often, and what next, on a real database."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.chat.model import Scope
from app.chat.warming import Asked
from app.errors import NotFound
from app.stores.questions import PgQuestions
from tests.support.pg_stores import Stores, turn


@pytest.fixture
def questions(stores: Stores) -> PgQuestions:
    return PgQuestions(stores.database)


async def agent_of(stores: Stores, scope: Scope, name: str = "helper") -> int:
    return (await stores.agents.create(scope, {"name": name})).id


async def talk(
    stores: Stores, scope: Scope, agent_id: int, messages: Sequence[str], **changes: Any
) -> None:
    """One conversation of these questions."""
    conversation = None
    for message in messages:
        made = turn(agent_id, conversation, question=message, **changes)
        await stores.conversations.store_turn(scope, made)
        conversation = made.conversation_id


async def test_frequent_are_counted_by_message_and_language(
    stores: Stores, scope: Scope, questions: PgQuestions
) -> None:
    agent = await agent_of(stores, scope)
    await talk(stores, scope, agent, ["a", "b"])
    await talk(stores, scope, agent, ["b"])
    await talk(stores, scope, agent, ["b"], language="es")
    assert await questions.frequent(scope, agent, 30) == [
        Asked("b", "en", 2),
        Asked("a", "en", 1),
        Asked("b", "es", 1),
    ]


async def test_only_answered_ones_of_the_agent_in_the_last_days(
    stores: Stores, scope: Scope, questions: PgQuestions
) -> None:
    agent, other = await agent_of(stores, scope), await agent_of(stores, scope, "other")
    await talk(stores, scope, agent, ["answered"])
    await talk(stores, scope, agent, ["failed"], status="error")
    await talk(stores, scope, other, ["another agent's"])
    assert await questions.frequent(scope, agent, 1) == [Asked("answered", "en", 1)]
    await stores.behind(
        "UPDATE runs SET started_at = now() - interval '3 days' WHERE agent_id = $1", agent
    )
    assert await questions.frequent(scope, agent, 2) == []
    assert await questions.frequent(scope, agent, 4) == [Asked("answered", "en", 1)]


async def test_following_is_what_came_right_after_in_the_same_conversation(
    stores: Stores, scope: Scope, questions: PgQuestions
) -> None:
    agent, other = await agent_of(stores, scope), await agent_of(stores, scope, "other")
    await talk(stores, scope, agent, ["a", "b", "c"])
    await talk(stores, scope, agent, ["x", "a", "b"])
    await talk(stores, scope, agent, ["a", "d"])
    await talk(stores, scope, agent, ["a"])
    await talk(stores, scope, other, ["a", "e"])
    assert await questions.following(scope, agent, "a", 30) == [
        Asked("b", "en", 2),
        Asked("d", "en", 1),
    ]
    assert await questions.following(scope, agent, "c", 30) == []
    assert await questions.following(scope, agent, "never' OR 'a'='a", 30) == []


async def test_another_tenants_questions_are_never_seen(
    stores: Stores, scope: Scope, questions: PgQuestions
) -> None:
    agent, foreign = await agent_of(stores, scope), await stores.tenant()
    await talk(stores, scope, agent, ["a", "b"])
    assert await questions.frequent(foreign, agent, 30) == []
    assert await questions.following(foreign, agent, "a", 30) == []


async def test_an_id_that_no_row_can_have_is_not_found(
    scope: Scope, questions: PgQuestions
) -> None:
    with pytest.raises(NotFound):
        await questions.frequent(scope, 2**70, 30)
