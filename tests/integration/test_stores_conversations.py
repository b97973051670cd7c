"""What the question path loads, and a turn stored whole, once or not at all."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.chat.administration import AgentRecord
from app.chat.model import ChatMessage, Claim, Question, Scope
from app.errors import AppError, InvalidInput, NotFound, Unauthorized
from tests.support.live import unique
from tests.support.pg_stores import Stores, scope_of, turn
from tests.support.waiting import until


@pytest.fixture
async def agent(stores: Stores, scope: Scope) -> AgentRecord:
    return await stores.agents.create(
        scope, {"name": "helper", "system_prompt": "Be brief.", "provider": "extractive"}
    )


async def test_an_agent_is_loaded_by_id_and_by_name(
    stores: Stores, scope: Scope, agent: AgentRecord
) -> None:
    by_id = await stores.conversations.load(scope, Question(agent.id, "?"))
    assert by_id == await stores.conversations.load(scope, Question("helper", "?"))
    assert (by_id.agent.id, by_id.agent.name, by_id.agent.version) == (agent.id, "helper", 1)
    assert (by_id.agent.system_prompt, by_id.agent.provider) == ("Be brief.", "extractive")
    assert (by_id.portfolio, by_id.history, by_id.tenant_epoch) == (None, [], 0)


async def test_the_questions_portfolio_comes_before_the_agents(
    stores: Stores, scope: Scope, agent: AgentRecord
) -> None:
    first, second = [await stores.portfolio(scope) for _ in range(2)]
    await stores.agents.update(scope, agent.id, {"portfolio_id": first.id})
    load = stores.conversations.load
    own = await load(scope, Question(agent.id, "?"))
    other = await load(scope, Question(agent.id, "?", second.id))
    assert own.portfolio is not None
    assert other.portfolio is not None
    assert (own.portfolio.id, other.portfolio.id) == (first.id, second.id)
    assert own.agent.portfolio_id == other.agent.portfolio_id == first.id
    assert own.portfolio.name == first.name
    with pytest.raises(NotFound):
        await load(scope, Question(agent.id, "?", 2**62))


async def test_what_is_loaded_is_of_one_moment(
    stores: Stores, scope: Scope, agent: AgentRecord
) -> None:
    """The portfolio is read behind the agent, and both are changed between the two."""
    portfolio = await stores.portfolio(scope)
    await stores.agents.update(scope, agent.id, {"portfolio_id": portfolio.id})
    question = Question(agent.id, "?")
    before = await stores.conversations.load(scope, question)
    holder = await asyncpg.connect(stores.superuser_url)
    try:
        async with holder.transaction(), asyncio.timeout(4):
            await holder.execute("LOCK TABLE portfolios IN ACCESS EXCLUSIVE MODE")
            loading = asyncio.create_task(stores.conversations.load(scope, question))
            await until(
                lambda: holder.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            )
            for table, changed in (("agents", agent.id), ("portfolios", portfolio.id)):
                await holder.execute(
                    f"UPDATE {table} SET version = version + 1 WHERE id = $1", changed
                )
        assert await loading == before
    finally:
        await holder.close()
    assert (await stores.conversations.load(scope, question)).portfolio != before.portfolio


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
async def test_a_name_that_is_no_text_is_refused(stores: Stores, scope: Scope, name: str) -> None:
    with pytest.raises(InvalidInput):
        await stores.conversations.load(scope, Question(name, "?"))


async def test_a_turn_is_stored_with_all_it_has(
    stores: Stores, scope: Scope, agent: AgentRecord
) -> None:
    made = turn(agent.id, question="  What\nis\tit? " + "long " * 40)
    before = datetime.now(UTC)
    await stores.conversations.store_turn(scope, made)
    record, messages = await stores.history.get(scope, made.conversation_id)
    assert record.agent_id == agent.id
    assert record.title == ("What is it? " + "long " * 40)[:80]
    assert [(each.id, each.role, each.content) for each in messages] == [
        (made.question_id, "user", made.question),
        (made.message_id, "assistant", made.answer),
    ]
    assert [each.citations for each in messages] == [[], list(made.citations)]
    assert {each.run_id for each in messages} == {made.run_id}
    [run] = await stores.behind("SELECT * FROM runs WHERE id = $1", made.run_id)
    assert (run["status"], run["cached"], run["complexity"]) == ("complete", False, "medium")
    assert (run["degraded"], run["finish_reason"]) == (["vector"], "stop")
    assert run["timings_ms"] == '{"total": 12.5}'
    assert abs(run["started_at"] - before) < timedelta(seconds=5)


async def test_history_is_the_last_ten_whole_turns_oldest_first(
    stores: Stores, scope: Scope, agent: AgentRecord
) -> None:
    first = turn(agent.id, question="q0", answer="a0")
    await stores.conversations.store_turn(scope, first)
    for number in range(1, 13):
        status = "interrupted" if number == 7 else "complete"
        await stores.conversations.store_turn(
            scope,
            turn(
                agent.id,
                first.conversation_id,
                question=f"q{number}",
                answer=f"a{number}",
                status=status,
            ),
        )
    question = Question(agent.id, "?", conversation_id=first.conversation_id)
    loaded = await stores.conversations.load(scope, question)
    expected = [number for number in range(2, 13) if number != 7]
    assert loaded.history == [
        message
        for number in expected
        for message in (ChatMessage("user", f"q{number}"), ChatMessage("assistant", f"a{number}"))
    ]
    _, messages = await stores.history.get(scope, first.conversation_id)
    assert [each.content for each in messages] == [f"{k}{n}" for n in range(13) for k in "qa"]
    assert [each.status for each in messages[14:16]] == ["complete", "interrupted"]


async def test_a_conversation_belongs_to_its_agent(
    stores: Stores, scope: Scope, agent: AgentRecord
) -> None:
    made = turn(agent.id)
    await stores.conversations.store_turn(scope, made)
    other = await stores.agents.create(scope, {"name": "other"})
    with pytest.raises(NotFound):
        await stores.conversations.load(
            scope, Question(other.id, "?", conversation_id=made.conversation_id)
        )
    with pytest.raises(NotFound):
        await stores.conversations.store_turn(scope, turn(other.id, made.conversation_id))
    _, messages = await stores.history.get(scope, made.conversation_id)
    assert len(messages) == 2


async def test_a_deleted_conversation_or_agent_is_not_made_again(
    stores: Stores, scope: Scope, agent: AgentRecord
) -> None:
    made = turn(agent.id)
    await stores.conversations.store_turn(scope, made)
    await stores.history.delete(scope, made.conversation_id)
    with pytest.raises(NotFound):
        await stores.conversations.store_turn(scope, turn(agent.id, made.conversation_id))
    await stores.agents.delete(scope, agent.id)
    with pytest.raises(NotFound):
        await stores.conversations.store_turn(scope, turn(agent.id))
    assert (await stores.history.list(scope, 10, None)).items == []
    for table in ("conversations", "messages", "runs", "citations"):
        [row] = await stores.behind(
            f"SELECT count(*) FROM {table} WHERE tenant_id = $1", scope.tenant_id
        )
        assert row["count"] == 0, table


async def test_a_turn_stored_twice_is_stored_once(
    stores: Stores, scope: Scope, agent: AgentRecord
) -> None:
    made = turn(agent.id)
    for _ in range(2):
        await stores.conversations.store_turn(scope, made)
    _, messages = await stores.history.get(scope, made.conversation_id)
    assert len(messages) == 2
    assert len(messages[1].citations) == 1


@pytest.mark.parametrize(
    "wrong", [{"answer": "a\0b"}, {"question": "\ud800"}, {"status": "odd"}, {"citations": "twice"}]
)
async def test_a_turn_that_cannot_be_stored_leaves_nothing(
    stores: Stores, scope: Scope, agent: AgentRecord, wrong: dict[str, str]
) -> None:
    made = turn(agent.id, **wrong) if "citations" not in wrong else turn(agent.id)
    if "citations" in wrong:  # an id of another turn's message: the last thing that is written
        await stores.conversations.store_turn(scope, made)
        made = turn(agent.id, message_id=made.message_id)
    with pytest.raises(AppError):
        await stores.conversations.store_turn(scope, made)
    with pytest.raises(NotFound):
        await stores.history.get(scope, made.conversation_id)
    assert await stores.behind("SELECT FROM runs WHERE id = $1", made.run_id) == []


async def test_conversations_page_by_their_latest_turn(
    stores: Stores, scope: Scope, agent: AgentRecord
) -> None:
    turns = [turn(agent.id) for _ in range(5)]
    for made in turns:
        await stores.conversations.store_turn(scope, made)
    await stores.conversations.store_turn(scope, turn(agent.id, turns[0].conversation_id))
    seen, after = [], None
    while True:
        page = await stores.history.list(scope, 2, after)
        seen += [record.id for record in page.items]
        if (after := page.next) is None:
            break
    assert seen == [turns[n].conversation_id for n in (0, 4, 3, 2, 1)]
    for bad in ("1", "x", "1.2", f"{10**17}.{'0' * 32}", "1" * 400):
        with pytest.raises(InvalidInput):
            await stores.history.list(scope, 2, bad)


async def test_a_claimed_key_is_checked_with_the_question(stores: Stores) -> None:
    key = await stores.credentials.create(unique("claims"), "laptop")
    scope, claim = await scope_of(stores.credentials, key), stores.credentials.claim(key)
    assert scope is not None
    assert claim is not None
    agent = await stores.agents.create(scope, {"name": "helper", "provider": "extractive"})
    question = Question(agent.id, "?")
    known = await stores.conversations.load(scope, question)
    assert await stores.conversations.load(claim, question) == replace(known, scope=scope)
    with pytest.raises(NotFound):
        await stores.conversations.load(claim, Question(2**62, "?"))
    for revoked, expired in (("-1 s", None), (None, "-1 s")):
        await stores.behind(
            "UPDATE api_keys SET revoked_at = now() + $2::text::interval, "
            "expires_at = now() + $3::text::interval WHERE key_hash = $1",
            claim.key_digest,
            revoked,
            expired,
        )
        with pytest.raises(Unauthorized):
            await stores.conversations.load(claim, question)


async def test_another_tenants_key_opens_nothing_of_ones_own(
    stores: Stores, agent: AgentRecord
) -> None:
    stranger = stores.credentials.claim(await stores.credentials.create(unique("claims"), "x"))
    assert stranger is not None
    for number in (agent.id, agent.name):
        with pytest.raises(NotFound):
            await stores.conversations.load(stranger, Question(number, "?"))
    unknown = Claim(b"\0" * 32)
    with pytest.raises(Unauthorized):
        await stores.conversations.load(unknown, Question(agent.id, "?"))
    assert stores.credentials.claim("no key of ours") is None
