"""Answers found by what was asked, over the live service: what hits, and what must never."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from app.chat.cache import part_tag
from tests.support.live import Live, live_service, unique

TEXT = (
    "The Atlas dashboard was finished in 2023 by Ana Ruiz. The next version of the Atlas dashboard "
    "was finished in 2024 by Bo Lindqvist. The Zephyr dashboard was finished by Carla Diaz."
)
ASKED = "Who finished the Atlas dashboard in 2023?"
# Near enough for the encoder, and passed by the guards.
SAME = [
    "Please, who finished the Atlas dashboard in 2023?",
    "hello, who finished the atlas dashboard in 2023?",
    "Do you know who finished the Atlas dashboard in 2023?",
]
# Near enough for the encoder as well or nearer (0.99, 0.97, 0.95), and one that is not.
OTHERS = [
    "Who finished the Atlas dashboard in 2024?",
    "Who did not finish the Atlas dashboard in 2023?",
    "When finished the Atlas dashboard in 2023?",
    "Who finished the Zephyr dashboard in 2023?",
]


async def portfolio_and_agent(live: Live, **values: Any) -> tuple[int, int]:
    portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
    return portfolio, await live.agent(unique("agent"), portfolio, provider="extractive", **values)


@pytest.mark.parametrize("message", SAME)
async def test_the_same_question_in_other_words_is_answered_at_once(
    live: Live, message: str
) -> None:
    _, agent = await portfolio_and_agent(live)
    first = await live.ask(agent, ASKED)
    again = await live.ask(agent, message)
    assert (first["cached"], again["cached"]) == (False, True)
    assert again["answer"] == first["answer"] and again["citations"] == first["citations"]
    assert again["run_id"] != first["run_id"]
    assert again["timings_ms"]["semantic"] > 0 and "generate" not in again["timings_ms"]
    stored = await live.json("GET", f"/api/conversations/{again['conversation_id']}")
    assert [each["content"] for each in stored["messages"]] == [message, first["answer"]]


async def test_a_stream_replays_it_with_the_same_events(live: Live) -> None:
    _, agent = await portfolio_and_agent(live)
    first = await live.stream(agent, ASKED)
    again = await live.stream(agent, SAME[0])
    assert [each["type"] for each in again] == [each["type"] for each in first]
    assert again[1:-1] == first[1:-1]
    assert again[-1]["cached"] and again[-1]["citations"] == first[-1]["citations"]


@pytest.mark.parametrize("message", OTHERS)
async def test_another_question_is_answered_anew(live: Live, message: str) -> None:
    _, agent = await portfolio_and_agent(live)
    await live.ask(agent, ASKED)
    assert not (await live.ask(agent, message))["cached"]


async def test_no_other_scope_is_ever_looked_at(live: Live) -> None:
    """Colliding questions in the same documents: other agents, portfolios, filters, languages."""
    portfolio, agent = await portfolio_and_agent(live)
    await live.ask(agent, ASKED)
    other_agent = await live.agent(unique("agent"), portfolio, provider="extractive")
    other_portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
    assert not (await live.ask(other_agent, SAME[0]))["cached"]
    for options in (
        {"portfolio_id": other_portfolio},
        {"filters": {"team": "web"}},
        {"language": "es"},
        {"cache": "off"},
        {"cache": "refresh"},
    ):
        assert not (await live.ask(agent, SAME[1], **options))["cached"], options


async def test_another_tenant_never_hits(live: Live) -> None:
    for _ in range(2):
        key = await live.services.credentials.create(unique("tenant"), "test")
        headers = {"Authorization": f"Bearer {key}"}
        created = await live.json(
            "POST", "/api/portfolios", 201, json={"name": "docs"}, headers=headers
        )
        body = {"documents": [{"title": "Atlas", "text": TEXT}]}
        path = f"/api/portfolios/{created['id']}/documents?wait=true"
        await live.json("POST", path, json=body, headers=headers)
        agent = {"name": "quoting", "portfolio_id": created["id"], "provider": "extractive"}
        made = await live.json("POST", "/api/agents", 201, json=agent, headers=headers)
        path = f"/api/agents/{made['id']}/chat"
        answers = [
            await live.json("POST", path, json={"message": each}, headers=headers)
            for each in (SAME[0], ASKED)
        ]
        assert [each["cached"] for each in answers] == [False, True]


async def test_a_changed_document_is_never_answered_from_before(live: Live) -> None:
    portfolio, agent = await portfolio_and_agent(live)
    await live.ask(agent, ASKED)
    await live.add(portfolio, Atlas=TEXT.replace("Ana Ruiz", "Eva Sol"))
    again = await live.ask(agent, SAME[0])
    assert not again["cached"] and "Eva Sol" in again["answer"]


async def test_invalidation_forgets_it(live: Live) -> None:
    _, agent = await portfolio_and_agent(live)
    await live.ask(agent, ASKED)
    dropped = await live.json("DELETE", f"/api/admin/cache?agent_id={agent}")
    assert dropped["invalidated"] == 3  # the answer, its passages and the questions
    assert not (await live.ask(agent, SAME[0]))["cached"]


async def test_an_answer_that_is_gone_is_a_miss(live: Live, connections: dict[str, Any]) -> None:
    """Entries point to answers, which end with their own time to live or are evicted."""
    _, agent = await portfolio_and_agent(live)
    await live.ask(agent, ASKED)
    await live.ask(agent, SAME[0])
    # The cache's tag takes answer and questions alike; what this process has read stays in it.
    tenant = (await live.services.credentials.default_scope()).tenant_id
    assert await live.services.cache.drop(part_tag("agent", tenant, agent)) == 3
    async with Redis.from_url(connections["redis_url"]) as redis, asyncio.timeout(5):
        while [name async for name in redis.scan_iter("cache:dropped:*", count=1000)]:
            pass  # it is freed behind the answer
    assert not (await live.ask(agent, SAME[1]))["cached"]


async def test_a_follow_up_neither_hits_nor_fills_what_has_no_context(live: Live) -> None:
    _, agent = await portfolio_and_agent(live)
    alone = await live.ask(agent, "and the second one?")
    asked = await live.ask(agent, ASKED)
    conversation = asked["conversation_id"]
    follow_up = await live.ask(agent, "and the second one?", conversation_id=conversation)
    assert (alone["cached"], follow_up["cached"]) == (False, False)
    _, other = await portfolio_and_agent(live)
    asked = await live.ask(other, ASKED)
    conversation = asked["conversation_id"]
    assert not (await live.ask(other, "how old is he?", conversation_id=conversation))["cached"]
    assert not (await live.ask(other, "how old is he?"))["cached"]
    # A question of its own is the same wherever it is asked.
    assert (await live.ask(other, SAME[0], conversation_id=conversation))["cached"]


async def test_an_agent_has_its_own_threshold(live: Live) -> None:
    _, agent = await portfolio_and_agent(live, semantic_threshold=1)
    assert (await live.json("GET", f"/api/agents/{agent}"))["semantic_threshold"] == 1
    await live.ask(agent, ASKED)
    assert not (await live.ask(agent, SAME[0]))["cached"]
    changed = {"semantic_threshold": None}
    assert (await live.json("PATCH", f"/api/agents/{agent}", json=changed))[
        "semantic_threshold"
    ] is None
    await live.ask(agent, ASKED)
    assert (await live.ask(agent, SAME[0]))["cached"]
    for wrong in (0, 0.4, 1.1, "0.9", True):
        body = {"semantic_threshold": wrong}
        await live.json("PATCH", f"/api/agents/{agent}", 422, json=body)


async def test_two_processes_share_it(live: Live, connections: dict[str, Any]) -> None:
    _, agent = await portfolio_and_agent(live)
    async with live_service(**connections) as other:
        await live.ask(agent, ASKED)
        assert (await other.ask(agent, SAME[0]))["cached"]
        await other.ask(agent, OTHERS[0])
        assert (await live.ask(agent, OTHERS[0].lower()))["cached"]


async def test_switched_off_it_is_not_looked_at(live: Live, connections: dict[str, Any]) -> None:
    _, agent = await portfolio_and_agent(live)
    async with live_service(**connections, features={"semantic_cache": False}) as plain:
        await plain.ask(agent, ASKED)
        answer = await plain.ask(agent, SAME[0])
        assert not answer["cached"] and "semantic" not in answer["timings_ms"]


async def test_many_at_once_find_the_same(live: Live) -> None:
    _, agent = await portfolio_and_agent(live)
    first = await live.ask(agent, ASKED)
    answers = await asyncio.gather(*(live.ask(agent, SAME[n % 3]) for n in range(30)))
    assert {each["answer"] for each in answers} == {first["answer"]}
