"""Two tenants over real sockets: the other one's ids do not exist, on any route, in any place."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from app.bootstrap import Settings, migrate
from app.embedded import Servers
from tests.support.live import Live, live_service, unique

TEXT = "Atlas is a dashboard built with React. It was finished in 2021 by Ana Ruiz."


@pytest.fixture
async def stranger(live: Live) -> AsyncIterator[Live]:
    """The same service, seen by a tenant of its own."""
    key = await live.services.credentials.create(unique("tenant"), "test")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=live.url, headers=headers, trust_env=False) as http:
        yield replace(live, http=http)


async def test_nothing_of_one_tenant_exists_for_another(live: Live, stranger: Live) -> None:
    portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
    agent = await live.agent(unique("agent"), portfolio, provider="extractive")
    answer = await live.ask(agent, "Who finished the Atlas dashboard?")
    document = (await live.json("GET", f"/api/portfolios/{portfolio}/documents"))["items"][0]["id"]
    conversation, run = answer["conversation_id"], answer["run_id"]
    own = await stranger.agent(unique("agent"), None, provider="extractive")
    chat = {"message": "Who finished the Atlas dashboard?"}
    documents = {"documents": [{"title": "T", "text": "Text."}]}
    tries = [
        ("GET", f"/api/agents/{agent}", None),
        ("PATCH", f"/api/agents/{agent}", {"name": "mine"}),
        ("DELETE", f"/api/agents/{agent}", None),
        ("POST", f"/api/agents/{agent}/chat", chat),
        ("POST", f"/api/agents/{agent}/chat/stream", chat),
        ("POST", f"/api/agents/{own}/chat", {**chat, "portfolio_id": portfolio}),
        ("POST", f"/api/agents/{own}/chat", {**chat, "conversation_id": conversation}),
        ("PATCH", f"/api/agents/{own}", {"portfolio_id": portfolio}),
        ("POST", "/api/agents", {"name": unique("agent"), "portfolio_id": portfolio}),
        ("GET", f"/api/portfolios/{portfolio}", None),
        ("PATCH", f"/api/portfolios/{portfolio}", {"name": "mine"}),
        ("DELETE", f"/api/portfolios/{portfolio}", None),
        ("GET", f"/api/portfolios/{portfolio}/documents", None),
        ("POST", f"/api/portfolios/{portfolio}/documents", documents),
        ("GET", f"/api/documents/{document}", None),
        ("DELETE", f"/api/documents/{document}", None),
        ("GET", f"/api/conversations/{conversation}", None),
        ("DELETE", f"/api/conversations/{conversation}", None),
        ("GET", f"/api/runs/{run}/events", None),
        ("POST", f"/api/runs/{run}/cancel", None),
        ("POST", "/api/retrieve", {"query": "Atlas", "portfolio_id": portfolio}),
        ("DELETE", f"/api/admin/cache?agent_id={agent}", None),
        ("DELETE", f"/api/admin/cache?portfolio_id={portfolio}", None),
    ]
    for method, path, body in tries:
        response = await stranger.http.request(method, path, json=body)
        assert response.status_code == 404, (method, path, response.text)
        assert response.json()["code"] == "not_found"
    assert (await live.ask(agent, chat["message"]))["cached"], "something changed"


async def test_lists_hold_only_ones_own(live: Live, stranger: Live) -> None:
    await live.portfolio(unique("docs"), Atlas=TEXT)
    for path in ("/api/agents", "/api/portfolios", "/api/conversations"):
        assert (await stranger.json("GET", path)) == {"items": [], "next": None}


async def test_equal_questions_of_two_tenants_share_nothing(live: Live, stranger: Live) -> None:
    answers = []
    for who, text in ((live, TEXT), (stranger, TEXT.replace("Ana Ruiz", "Bo Lindqvist"))):
        portfolio = await who.portfolio(unique("docs"), Atlas=text)
        agent = await who.agent(unique("agent"), portfolio, provider="extractive")
        answers.append(await who.ask(agent, "Who finished the Atlas dashboard?"))
    assert [each["cached"] for each in answers] == [False, False]
    assert "Ana Ruiz" in answers[0]["answer"]
    assert "Bo Lindqvist" in answers[1]["answer"]


async def test_a_wrong_key_is_refused_even_where_none_is_needed(live: Live) -> None:
    headers = {"Authorization": "Bearer cs_wrong"}
    response = await live.http.get("/api/agents", headers=headers)
    assert response.status_code == 401
    assert response.json()["code"] == "unauthorized"


async def test_two_installations_on_one_redis_never_answer_for_each_other(
    fresh_database: Callable[[], Awaitable[Servers]], connections: dict[str, Any]
) -> None:
    """Production and staging: tenants, agents, portfolios and versions count from 1 in both."""
    for finished_by in ("Ana Ruiz", "Bo Lindt"):
        database = await fresh_database()
        settings = {
            **connections,
            "database_url": database.app_url,
            "database_owner_url": database.owner_url,
        }
        await migrate(Settings(**settings))
        async with live_service(**settings) as live:
            portfolio = await live.portfolio("docs", Atlas=TEXT.replace("Ana Ruiz", finished_by))
            agent = await live.agent("quoting", portfolio, provider="extractive")
            answer = await live.ask(agent, "Who finished the Atlas dashboard?")
            assert finished_by in answer["answer"]
            assert not answer["cached"]
            assert (await live.ask(agent, "Who finished the Atlas dashboard?"))["cached"]
