"""Questions of one caller that come at the same time: fewer statements, the same outcome."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest

from app.chat.administration import AgentRecord
from app.chat.model import Claim, Question, Scope
from app.chat.ports import Begun, Loaded, Turn
from app.errors import AppError, InvalidInput, NotFound, Unauthorized
from app.stores.tenants import digest_of
from tests.support.live import unique
from tests.support.pg_stores import Stores, turn

MANY = 40


@pytest.fixture
async def agents(stores: Stores, scope: Scope) -> Sequence[AgentRecord]:
    return [
        await stores.agents.create(scope, {"name": f"helper {n}", "system_prompt": f"prompt {n}"})
        for n in range(5)
    ]


def statements(stores: Stores) -> int:
    return stores.database.statistics()["questions"]["acquired"]


async def count(stores: Stores, scope: Scope, table: str) -> int:
    query = f"SELECT count(*) FROM {table} WHERE tenant_id = $1"
    [row] = await stores.behind(query, scope.tenant_id)
    return int(row["count"])


async def test_everyone_gets_what_he_asked_for(
    stores: Stores, scope: Scope, agents: Sequence[AgentRecord]
) -> None:
    portfolio = await stores.portfolio(scope)
    begun = turn(agents[1].id, question="before?", answer="yes")
    await stores.conversations.store_turn(scope, begun)
    kinds = [
        Question(agents[0].id, "?"),
        Question("helper 3", "?"),
        Question(agents[2].id, "?", portfolio.id),
        Question(agents[1].id, "?", conversation_id=begun.conversation_id),
        Question(2**62, "?"),
        Question(agents[0].id, "?", 2**62),
        Question(agents[0].id, "?", conversation_id=begun.conversation_id),
        Question(agents[4].id, "?"),
    ]
    alone = [await _outcome(stores, scope, each) for each in kinds]
    assert [isinstance(each, Loaded) for each in alone].count(True) == 5
    before = statements(stores)
    found = await asyncio.gather(*(_outcome(stores, scope, each) for each in kinds * 5))
    assert found == alone * 5
    assert statements(stores) - before <= 4


async def test_a_credential_is_looked_up_with_all_of_its_questions(
    stores: Stores, scope: Scope, agents: Sequence[AgentRecord]
) -> None:
    tenant = unique("tenant")
    key = await stores.credentials.create(tenant, "first")
    claim = Claim(digest_of(key))
    own = await stores.credentials.resolve(claim)
    assert own is not None
    foreign = agents[0]
    helper = await stores.agents.create(own, {"name": "its own"})
    kinds = [Question(helper.id, "?"), Question(foreign.id, "?"), Question("its own", "?")]
    before = statements(stores)
    found = await asyncio.gather(*(_outcome(stores, claim, each) for each in kinds * 5))
    assert statements(stores) - before <= 3
    for mine, others, named in zip(*[iter(found)] * 3, strict=True):
        assert isinstance(mine, Loaded)
        assert (mine.scope, mine.agent.id) == (own, helper.id)
        assert mine == named
        assert others is NotFound
    nobody = Claim(b"\0" * 32)
    found = await asyncio.gather(*(_outcome(stores, nobody, each) for each in kinds * 5))
    assert set(found) == {Unauthorized}


async def test_tenants_that_ask_at_once_see_their_own(stores: Stores) -> None:
    scopes = [await stores.credentials.owner_of(unique("t"), create=True) for _ in range(4)]
    helpers = [await stores.agents.create(each, {"name": "helper"}) for each in scopes]
    asked = list(itertools.product(scopes, helpers)) * 5
    found = await asyncio.gather(
        *(_outcome(stores, scope, Question(helper.id, "?")) for scope, helper in asked)
    )
    for (scope, helper), each in zip(asked, found, strict=True):
        if helper is helpers[scopes.index(scope)]:
            assert isinstance(each, Loaded)
            assert each.agent.id == helper.id
        else:
            assert each is NotFound


async def test_turns_are_stored_each_once(
    stores: Stores, scope: Scope, agents: Sequence[AgentRecord]
) -> None:
    made = [turn(agents[n % 5].id, question=f"q{n}", answer=f"a{n}") for n in range(MANY)]
    before = statements(stores)
    begun = await asyncio.gather(*(stores.conversations.begin_turn(scope, t, None) for t in made))
    assert [each.ids.run for each in begun] == [each.run_id for each in made]
    assert all(each.fresh for each in begun)
    await asyncio.gather(*(stores.conversations.store_turn(scope, t) for t in made))
    assert statements(stores) - before < MANY / 2
    # Again and again: a caller that lost the answer may call again. They wait for each other, and
    # where that takes long each is stored by itself.
    await asyncio.gather(*(stores.conversations.store_turn(scope, t) for t in made + made))
    for each in made:
        _, messages = await stores.history.get(scope, each.conversation_id)
        assert [m.content for m in messages] == [each.question, each.answer]
        assert messages[1].citations == list(each.citations)
    assert await count(stores, scope, "runs") == MANY
    assert await count(stores, scope, "messages") == 2 * MANY
    assert await count(stores, scope, "citations") == MANY


async def test_turns_of_one_conversation_come_in_the_order_of_their_storing(
    stores: Stores, scope: Scope, agents: Sequence[AgentRecord]
) -> None:
    first = turn(agents[0].id, question="q0", answer="a0")
    await stores.conversations.store_turn(scope, first)
    later = [
        turn(agents[0].id, first.conversation_id, question=f"q{n}", answer=f"a{n}")
        for n in range(1, 12)
    ]
    await asyncio.gather(*(stores.conversations.store_turn(scope, each) for each in later))
    _, messages = await stores.history.get(scope, first.conversation_id)
    assert [each.content for each in messages] == [f"{k}{n}" for n in range(12) for k in "qa"]


async def test_one_that_cannot_be_stored_keeps_nobody_elses_from_it(
    stores: Stores, scope: Scope, agents: Sequence[AgentRecord]
) -> None:
    gone = turn(agents[0].id, new_conversation_of(agents[0]))
    poisoned = turn(agents[1].id, answer="a\0b")
    good = [turn(agents[n % 5].id) for n in range(10)]
    turns: list[Turn] = [*good[:5], gone, poisoned, *good[5:]]
    stored = await asyncio.gather(
        *(stores.conversations.store_turn(scope, each) for each in turns), return_exceptions=True
    )
    assert isinstance(stored[5], NotFound)
    assert isinstance(stored[6], InvalidInput)
    assert [each for each in stored if each is not None] == [stored[5], stored[6]]
    assert await count(stores, scope, "runs") == len(good)
    again = [replace(each, question="a\0b") for each in (turn(agents[0].id), turn(agents[1].id))]
    begun = await asyncio.gather(
        *(stores.conversations.begin_turn(scope, t, None) for t in [turn(agents[2].id), *again]),
        return_exceptions=True,
    )
    assert isinstance(begun[0], Begun)
    assert [type(each) for each in begun[1:]] == [InvalidInput] * 2


async def test_one_that_is_locked_holds_up_nobody_else(
    stores: Stores, scope: Scope, agents: Sequence[AgentRecord]
) -> None:
    store = stores.conversations.store_turn
    async with locked_conversation(stores, scope, agents[0]) as locked:
        waiting = asyncio.create_task(store(scope, turn(agents[0].id, locked)))
        others = [turn(each.id) for each in agents]
        await asyncio.gather(*(store(scope, each) for each in others))
        assert not waiting.done()
    await waiting
    assert await count(stores, scope, "runs") == 2 + len(others)


async def test_one_that_is_locked_in_the_midst_of_others_holds_them_up_for_a_moment(
    stores: Stores, scope: Scope, agents: Sequence[AgentRecord]
) -> None:
    store = stores.conversations.store_turn
    async with locked_conversation(stores, scope, agents[0]) as locked:
        turns = [turn(each.id) for each in agents]
        waiting = turn(agents[0].id, locked)
        tasks = [asyncio.create_task(store(scope, t)) for t in [*turns[:3], waiting, *turns[3:]]]
        held_up = tasks.pop(3)
        await asyncio.gather(*tasks)
        assert not held_up.done()
    await held_up
    assert await count(stores, scope, "runs") == 2 + len(turns)
    assert await count(stores, scope, "messages") == 2 * (2 + len(turns))


async def test_a_beat_passes_over_a_run_that_is_being_stored(
    stores: Stores, scope: Scope, agents: Sequence[AgentRecord]
) -> None:
    turns = [turn(each.id) for each in agents]
    await asyncio.gather(*(stores.conversations.begin_turn(scope, t, None) for t in turns))
    runs = [each.run_id for each in turns]
    alive = "SELECT id, alive_at FROM runs WHERE id = ANY ($1) ORDER BY started_at, id"
    before = await stores.behind(alive, runs)
    async with stores.database.transaction(scope) as connection:
        await connection.execute("SELECT FROM runs WHERE id = $1 FOR NO KEY UPDATE", runs[2])
        await stores.conversations.keep_alive(runs)
    after = dict(await stores.behind(alive, runs))
    beaten = {each["id"] for each in before if after[each["id"]] > each["alive_at"]}
    assert beaten == set(runs) - {runs[2]}


@asynccontextmanager
async def locked_conversation(
    stores: Stores, scope: Scope, agent: AgentRecord
) -> AsyncIterator[UUID]:
    """One with a turn, that nobody else can add to meanwhile."""
    made = turn(agent.id)
    await stores.conversations.store_turn(scope, made)
    async with stores.database.transaction(scope) as connection:
        await connection.execute(
            "SELECT FROM conversations WHERE id = $1 FOR UPDATE", made.conversation_id
        )
        yield made.conversation_id


def new_conversation_of(agent: AgentRecord) -> UUID:
    """One that was never stored."""
    return turn(agent.id).conversation_id


async def _outcome(
    stores: Stores, scope: Scope | Claim, question: Question
) -> Loaded | type[AppError]:
    try:
        return await stores.conversations.load(scope, question)
    except AppError as error:
        return type(error)
