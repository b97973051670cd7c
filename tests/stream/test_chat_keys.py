"""A chat call's API key, which is checked together with the question, in one round trip."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from tests.support.live import Live, unique

CHAT = {"message": "Hello"}


@pytest.fixture
async def tenant(live: Live) -> AsyncIterator[Live]:
    """A tenant with a key, in a service whose agents are not all its own."""
    key = await live.services.credentials.create(unique("tenant"), "test")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=live.url, headers=headers, trust_env=False) as http:
        yield replace(live, http=http)


@pytest.mark.parametrize("path", ["chat", "chat/stream"])
@pytest.mark.parametrize(
    "body",
    [
        {"json": CHAT},
        {"json": {"message": ""}},
        {"json": {"message": " \u200b"}},
        {"json": {"no": "message"}},
        {"content": b"{", "headers": {"Content-Type": "application/json"}},
        {"content": b"x", "headers": {"Content-Type": "text/plain"}},
        {"content": b" " * 300_000, "headers": {"Content-Type": "application/json"}},
    ],
)
async def test_a_stranger_is_told_nothing_but_that_the_key_is_wrong(
    tenant: Live, path: str, body: dict[str, Any]
) -> None:
    agent = await tenant.agent(unique("agent"), None, provider="extractive")
    for key in ("cs_" + "x" * 43, "cs_", "other"):
        headers = {**body.get("headers", {}), "Authorization": f"Bearer {key}"}
        for number in (agent, 10**9):
            url = f"/api/agents/{number}/{path}"
            response = await tenant.http.post(url, **{**body, "headers": headers})
            assert response.status_code == 401, response.text
            assert response.json()["detail"] == "This credential is unknown, expired or revoked."
            assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["chat", "chat/stream"])
async def test_who_has_a_key_is_told_what_is_wrong(tenant: Live, live: Live, path: str) -> None:
    own = await tenant.agent(unique("agent"), None, provider="extractive")
    foreign = await live.agent(unique("agent"), None, provider="extractive")
    for agent, body, status in (
        (own, {"message": ""}, 422),
        (own, {"no": "message"}, 422),
        (own, CHAT, 200),
        (foreign, CHAT, 404),
        (10**9, CHAT, 404),
        (10**9, {"message": ""}, 422),
    ):
        response = await tenant.http.post(f"/api/agents/{agent}/{path}", json=body)
        assert response.status_code == status, response.text


async def test_the_turn_is_the_key_owners(tenant: Live, live: Live) -> None:
    agent = await tenant.agent(unique("agent"), None, provider="extractive")
    answer = await tenant.ask(agent, "Hello")
    path = f"/api/conversations/{answer['conversation_id']}"
    await tenant.json("GET", path)
    await live.json("GET", path, 404)
