"""The caches of a running service, from the outside: what they hold, lose and tell."""

from typing import Any

import pytest
from redis.asyncio import Redis

from tests.support.live import Live, live_service, unique

TEXT = "# Atlas\n\nAtlas is a React project. It was started in 2019 by Ana Ruiz."
QUESTION = "Who started the Atlas project?"


async def agent_of(live: Live) -> tuple[int, int]:
    """A new agent and its portfolio."""
    portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
    return await live.agent(unique("agent"), portfolio, provider="extractive"), portfolio


async def caches(live: Live) -> Any:
    return (await live.json("GET", "/api/admin/stats"))["caches"]


def grown(before: Any, after: Any, layer: str) -> dict[str, int]:
    names = ("lookups", "local_hits", "shared_hits", "puts")
    return {name: after[layer][name] - before[layer][name] for name in names}


async def test_a_question_that_is_asked_again_and_again_comes_from_memory(live: Live) -> None:
    agent, _ = await agent_of(live)
    before = await caches(live)
    answers = [await live.ask(agent, QUESTION) for _ in range(4)]
    assert [each["cached"] for each in answers] == [False, True, True, True]
    after = await caches(live)
    answered = grown(before, after, "answers")
    assert (answered["shared_hits"], answered["local_hits"], answered["puts"]) == (1, 2, 1)
    assert grown(before, after, "passages")["puts"] == 1
    assert after["local"]["entries"] > 0
    assert after["redis"]["state"] == "ok"


async def test_the_same_in_other_words_counts_for_the_layer_that_found_it(live: Live) -> None:
    agent, _ = await agent_of(live)
    await live.ask(agent, QUESTION)
    before = await caches(live)
    assert (await live.ask(agent, "Who started the Atlas project, please?"))["cached"]
    after = await caches(live)
    found = grown(before, after, "semantic")
    assert (found["lookups"], found["local_hits"] + found["shared_hits"]) == (1, 1)
    answers = grown(before, after, "answers")
    assert answers["local_hits"] + answers["shared_hits"] == 0


async def test_an_entry_of_an_agent_and_a_portfolio_is_counted_once(live: Live) -> None:
    agent, portfolio = await agent_of(live)
    await live.ask(agent, QUESTION)
    both = {"agent_id": agent, "portfolio_id": portfolio}
    dropped = await live.json("DELETE", "/api/admin/cache", params=both)
    assert dropped["invalidated"] == 3  # the answer, its passages, and the list of questions
    again = await live.json("DELETE", "/api/admin/cache", params={"portfolio_id": portfolio})
    assert again["invalidated"] == 0
    assert not (await live.ask(agent, QUESTION))["cached"]


@pytest.mark.parametrize("local_mb", [0, 8])
async def test_what_is_at_hand_is_still_invalidated_everywhere(
    connections: dict[str, Any], local_mb: int
) -> None:
    settings = {**connections, "cache": {"local_mb": local_mb}}
    async with live_service(**settings) as one, live_service(**settings) as other:
        agent, portfolio = await agent_of(one)
        for service in (one, one, one, other, other):
            answer = await service.ask(agent, QUESTION)
        assert answer["cached"]
        assert ((await caches(other))["local"]["entries"] > 0) == (local_mb > 0)
        await one.json("DELETE", "/api/admin/cache", params={"agent_id": agent})
        assert not (await other.ask(agent, QUESTION))["cached"]
        await one.ask(agent, QUESTION)
        await one.add(portfolio, Atlas=TEXT.replace("Ana Ruiz", "Eva Sol"))
        for service in (one, other):
            assert "Eva Sol" in (await service.ask(agent, QUESTION))["answer"]


async def test_other_numbers_of_the_process(live: Live) -> None:
    told = await live.json("GET", "/api/admin/stats")
    assert told["encoders"] == {"main": True}
    assert told["queue"] == {"documents": 0}
    assert told["runs"]["active"] >= 0
    questions, administration = told["pools"]["questions"], told["pools"]["administration"]
    assert 0 <= questions["in_use"] <= questions["open"] <= questions["size"] == 10
    assert 0 <= administration["in_use"] <= administration["open"] <= administration["size"]


async def test_everything_in_redis_ends_by_itself(live: Live, connections: dict[str, Any]) -> None:
    agent, _ = await agent_of(live)
    await live.ask(agent, QUESTION)
    await live.json("DELETE", "/api/admin/cache", params={"agent_id": agent})
    await live.ask(agent, QUESTION)
    async with Redis.from_url(connections["redis_url"]) as redis:
        for pattern in ("agent:*", "rag:*", "semantic:*", "cache:*"):
            names = [name async for name in redis.scan_iter(pattern, count=1000)]
            # -2: it has ended, or was freed, since it was found
            assert all([await redis.ttl(name) != -1 for name in names]), pattern
