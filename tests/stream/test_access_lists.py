"""Who may read and write a portfolio: by Postgres, on every route, whatever the agent or cache."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest

from tests.support.live import PLAIN, Live, unique

TEXT = "Atlas is a dashboard built with React. It was finished in 2021 by Ana Ruiz."
QUESTION = "Who finished the Atlas dashboard?"


@dataclass(frozen=True)
class Person:
    """A member of the tenant, with a key of no user's."""

    live: Live
    subject: str

    async def status(self, method: str, path: str, **request: Any) -> int:
        return (await self.live.http.request(method, path, **request)).status_code

    async def statuses(self, *tries: tuple[str, str]) -> set[int]:
        """Of calls side by side: a run that is not there is looked for for a while."""
        return set(await asyncio.gather(*(self.status(*each) for each in tries)))


@dataclass(frozen=True)
class Team:
    owner: Live
    ann: Person
    ben: Person

    async def place(self, **lists: Any) -> tuple[int, int]:
        """A portfolio with these lists, and an agent on it."""
        portfolio = await self.owner.portfolio(unique("docs"), Atlas=TEXT)
        agent = await self.owner.agent(unique("agent"), portfolio, provider="extractive")
        await self.owner.json("PATCH", f"/api/portfolios/{portfolio}", json=lists)
        return portfolio, agent


@pytest.fixture
async def team(live: Live) -> AsyncIterator[Team]:
    tenant = unique("team")
    owner = await live.services.credentials.create(tenant, "owner")
    async with client(live, owner) as http:
        keys = {}
        for name in ("ann", "ben"):
            body = {"name": name, "role": "member"}
            made = (await http.post("/api/keys", json=body)).json()
            keys[name] = made
        async with client(live, keys["ann"]["key"]) as ann, client(live, keys["ben"]["key"]) as ben:
            yield Team(
                replace(live, http=http),
                Person(replace(live, http=ann), f"key:{keys['ann']['id']}"),
                Person(replace(live, http=ben), f"key:{keys['ben']['id']}"),
            )


def client(live: Live, key: str) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx2.AsyncClient(base_url=live.url, headers=headers, timeout=30, **PLAIN)


def calls(portfolio: int, agent: int, document: int) -> Mapping[str, tuple[str, str, Any]]:
    """Everything that a member may ask of a portfolio that he can read."""
    chat = {"message": QUESTION}
    retrieve = {"query": QUESTION, "portfolio_id": portfolio}
    return {
        "portfolio": ("GET", f"/api/portfolios/{portfolio}", None),
        "documents": ("GET", f"/api/portfolios/{portfolio}/documents", None),
        "document": ("GET", f"/api/documents/{document}", None),
        "agent": ("GET", f"/api/agents/{agent}", None),
        "chat": ("POST", f"/api/agents/{agent}/chat", chat),
        "stream": ("POST", f"/api/agents/{agent}/chat/stream", chat),
        "retrieve": ("POST", "/api/retrieve", retrieve),
    }


async def seen(person: Person, portfolio: int, agent: int, document: int) -> dict[str, int]:
    return {
        name: await person.status(method, path, json=body)
        for name, (method, path, body) in calls(portfolio, agent, document).items()
    }


async def document_of(team: Team, portfolio: int) -> int:
    page = await team.owner.json("GET", f"/api/portfolios/{portfolio}/documents")
    return int(page["items"][0]["id"])


async def test_a_portfolio_is_its_tenants_until_it_has_readers(team: Team) -> None:
    portfolio, agent = await team.place(writers=[])
    document = await document_of(team, portfolio)
    assert set((await seen(team.ann, portfolio, agent, document)).values()) == {200}


@pytest.mark.parametrize("by", ["readers", "writers"])
async def test_only_who_is_listed_reads(team: Team, by: str) -> None:
    lists = {"readers": [], by: [team.ann.subject]}
    portfolio, agent = await team.place(**lists)
    document = await document_of(team, portfolio)
    # The listed one first: what his question has left in the caches is not for the other one.
    assert set((await seen(team.ann, portfolio, agent, document)).values()) == {200}
    assert set((await seen(team.ben, portfolio, agent, document)).values()) == {404}
    for kind, number in (("portfolios", portfolio), ("agents", agent)):
        for person, sees in ((team.ann, True), (team.ben, False)):
            page = await person.live.json("GET", f"/api/{kind}")
            assert (number in [each["id"] for each in page["items"]]) == sees


async def test_another_agent_is_no_way_in(team: Team) -> None:
    portfolio, _ = await team.place(readers=[])
    other = await team.owner.agent(unique("agent"), None, provider="extractive")
    chat = {"message": QUESTION, "portfolio_id": portfolio}
    assert await team.ben.status("POST", f"/api/agents/{other}/chat", json=chat) == 404
    speaking = await team.owner.agent(
        unique("agent"), None, provider="extractive", persona_portfolio_id=portfolio
    )
    assert await team.ben.status("GET", f"/api/agents/{speaking}") == 404
    chat = {"message": "Who are you?"}
    assert await team.ben.status("POST", f"/api/agents/{speaking}/chat", json=chat) == 404


async def test_a_list_counts_from_the_next_question_on(team: Team) -> None:
    portfolio, agent = await team.place(readers=[team.ann.subject])
    path, chat = f"/api/agents/{agent}/chat", {"message": QUESTION}
    first = await team.ann.live.json("POST", path, json=chat)
    assert (await team.ann.live.json("POST", path, json=chat))["cached"]
    await team.owner.json("PATCH", f"/api/portfolios/{portfolio}", json={"readers": []})
    assert await team.ann.status("POST", path, json=chat) == 404
    again = {**chat, "conversation_id": first["conversation_id"]}
    assert await team.ann.status("POST", path, json=again) == 404
    await team.owner.json("PATCH", f"/api/portfolios/{portfolio}", json={"readers": None})
    assert await team.ann.status("POST", path, json=chat) == 200


async def test_writers_add_and_remove_documents_and_nothing_else(team: Team) -> None:
    portfolio, agent = await team.place(writers=[team.ann.subject])
    path = f"/api/portfolios/{portfolio}/documents"
    new = {"documents": [{"title": "Borea", "text": "Borea was finished in 2019."}]}
    assert await team.ben.status("POST", path, json=new) == 403
    added = await team.ann.live.json("POST", f"{path}?wait=true", json=new)
    assert added["items"][0]["status"] == "indexed"
    document = added["ids"][0]
    assert await team.ben.status("DELETE", f"/api/documents/{document}") == 403
    assert await team.ann.status("DELETE", f"/api/documents/{document}") == 204
    for method, target, body in (
        ("PATCH", f"/api/portfolios/{portfolio}", {"readers": None}),
        ("DELETE", f"/api/portfolios/{portfolio}", None),
        ("PATCH", f"/api/agents/{agent}", {"name": unique("mine")}),
    ):
        assert await team.ann.status(method, target, json=body) == 403
    elsewhere, _ = await team.place(readers=[])
    target = f"/api/portfolios/{elsewhere}/documents"
    assert await team.ann.status("POST", target, json=new) == 404


async def test_lists_name_who_is_there(team: Team) -> None:
    portfolio, _ = await team.place(readers=[team.ann.subject], writers=[team.ben.subject])
    path = f"/api/portfolios/{portfolio}"
    shown = await team.owner.json("GET", path)
    assert (shown["readers"], shown["writers"]) == ([team.ann.subject], [team.ben.subject])
    for stranger in ("user:1", "key:999999999", "user:0", "somebody", ""):
        refused = await team.owner.json("PATCH", path, 422, json={"readers": [stranger]})
        assert refused["code"] == "invalid_input"
    assert (await team.owner.json("GET", path))["readers"] == [team.ann.subject]
    opened = await team.owner.json("PATCH", path, json={"readers": None, "writers": []})
    assert (opened["readers"], opened["writers"]) == (None, [])


async def test_a_limited_key_has_its_portfolios_only(team: Team) -> None:
    inside, agent = await team.place(writers=[])
    outside, other = await team.place(writers=[])
    body = {"name": "widget", "role": "member", "portfolio_ids": [inside]}
    key = (await team.owner.json("POST", "/api/keys", 201, json=body))["key"]
    async with client(team.owner, key) as http:
        widget = Person(replace(team.owner, http=http), "")
        documents = [await document_of(team, each) for each in (inside, outside)]
        assert set((await seen(widget, inside, agent, documents[0])).values()) == {200}
        assert set((await seen(widget, outside, other, documents[1])).values()) == {404}


async def test_a_limited_key_of_a_user_reads_nothing_that_was_said_beyond_its_limit(
    team: Team,
) -> None:
    inside, agent = await team.place(writers=[])
    _, secret = await team.place(writers=[])
    general = await team.owner.agent(unique("agent"), None, provider="extractive")
    person = {"email": f"{unique('ada')}@example.com"}
    user = (await team.owner.json("POST", "/api/users", 201, json=person))["id"]
    keys = []
    for limit in ({}, {"portfolio_ids": [inside]}):
        body = {"name": "key", "user_id": user, **limit}
        keys.append((await team.owner.json("POST", "/api/keys", 201, json=body))["key"])
    async with client(team.owner, keys[0]) as http, client(team.owner, keys[1]) as limited_http:
        ada = Person(replace(team.owner, http=http), f"user:{user}")
        limited = Person(replace(team.owner, http=limited_http), ada.subject)
        own = await limited.live.ask(agent, QUESTION)
        beyond = [await ada.live.ask(secret, QUESTION), await ada.live.ask(general, QUESTION)]
        conversations = [f"/api/conversations/{each['conversation_id']}" for each in beyond]
        runs = [f"/api/runs/{each['run_id']}" for each in beyond]
        events = [("GET", f"{each}/events") for each in runs]
        tries = [(method, path) for path in conversations for method in ("GET", "DELETE")]
        assert await limited.statuses(*tries, *events) == {404}
        team.owner.services.engine.runs._finished.clear()  # as it is stored
        assert await limited.statuses(*events, *(("POST", f"{each}/cancel") for each in runs)) == {
            404
        }
        kept = await limited.live.json("GET", "/api/conversations")
        assert [each["id"] for each in kept["items"]] == [own["conversation_id"]]
        assert await limited.status("GET", f"/api/runs/{own['run_id']}/events") == 200
        # What the user adds to it without a limit is beyond it as well.
        more = {"conversation_id": own["conversation_id"]}
        await limited.live.ask(agent, "And when?", **more)
        await ada.live.ask(agent, "And where?", **more)
        assert await limited.status("GET", f"/api/conversations/{own['conversation_id']}") == 404
        assert len((await ada.live.json("GET", "/api/conversations"))["items"]) == 3


async def test_conversations_and_runs_are_their_subjects_alone(team: Team) -> None:
    _, agent = await team.place(writers=[])
    answer = await team.ann.live.json(
        "POST", f"/api/agents/{agent}/chat", json={"message": QUESTION}
    )
    conversation, run = answer["conversation_id"], answer["run_id"]
    chat = {"message": "Who?", "conversation_id": conversation}
    tries = (
        ("GET", f"/api/conversations/{conversation}", None),
        ("DELETE", f"/api/conversations/{conversation}", None),
        ("GET", f"/api/runs/{run}/events", None),
        ("POST", f"/api/runs/{run}/cancel", None),
        ("POST", f"/api/agents/{agent}/chat", chat),
        ("POST", f"/api/agents/{agent}/chat/stream", chat),
    )
    for other in (team.ben.live, team.owner):
        answers = await asyncio.gather(
            *(other.http.request(method, path, json=body) for method, path, body in tries)
        )
        assert [each.status_code for each in answers] == [404] * len(tries)
        assert (await other.json("GET", "/api/conversations"))["items"] == []
    for method, path, body in (*tries[:1], *tries[2:]):
        assert await team.ann.status(method, path, json=body) == 200
