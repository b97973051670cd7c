"""Every response goes by the audit log: what is written down, and that no call is forgotten."""

import re
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from app.api.audit_actions import ACTIONS, CHANGES, PUBLIC
from app.chat.model import Scope
from app.main import create_app
from tests.support.api_fakes import AGENT, CONVERSATION, World, client_of

SAFE = {"GET", "HEAD", "OPTIONS"}


def no_services() -> Any:
    raise AssertionError("nothing starts the application that only describes itself")


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(no_services)


def operations(app: FastAPI) -> set[tuple[str, str]]:
    return {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if path not in PUBLIC
    }


def test_every_call_of_the_document_has_its_action(app: FastAPI) -> None:
    assert operations(app) == set(ACTIONS)


def test_every_route_that_may_change_something_is_in_the_document(app: FastAPI) -> None:
    changing = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - SAFE
    }
    assert changing <= operations(app)


def test_whatever_changes_something_is_recorded() -> None:
    """All but questions, which are conversations, and searches, which change nothing."""
    unrecorded = {
        action.name
        for (method, _), action in ACTIONS.items()
        if method not in SAFE and action.recorded != "change"
    }
    assert unrecorded == {"chat.ask", "portfolio.search"}
    for (method, _), action in ACTIONS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z]+", action.name)
        if method in SAFE:
            assert action.name.partition(".")[2] not in CHANGES


def of(world: World) -> list[tuple[str, str, str | None, str, int]]:
    return [
        (each.action, each.object_kind, each.object_id, each.result, each.status)
        for each in world.audit.entries
    ]


async def test_a_change_is_there_when_its_answer_is(
    world: World, client: httpx2.AsyncClient
) -> None:
    made = await client.post("/api/agents", json={"name": "second"})
    assert of(world) == [("agent.create", "agent", "2", "ok", 201)]
    [entry] = world.audit.entries
    assert entry.request_id == made.headers["x-request-id"]
    assert (entry.tenant_id, entry.subject, entry.role) == (1, "owner", "owner")
    assert entry.address == "127.0.0.1"
    await client.patch("/api/agents/2", json={"name": "third"})
    await client.delete("/api/agents/2")
    assert of(world)[1:] == [
        ("agent.change", "agent", "2", "ok", 200),
        ("agent.delete", "agent", "2", "ok", 204),
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/api/portfolios", {"name": "n"}, ("portfolio.create", "portfolio", "2", 201)),
        ("PATCH", "/api/portfolios/1", {"name": "n"}, ("portfolio.change", "portfolio", "1", 200)),
        ("DELETE", "/api/portfolios/1", None, ("portfolio.delete", "portfolio", "1", 204)),
        (
            "POST",
            "/api/portfolios/1/documents",
            {"documents": [{"title": "t", "text": "x"}]},
            ("document.add", "portfolio", "1", 202),
        ),
        (
            "DELETE",
            f"/api/conversations/{CONVERSATION}",
            None,
            ("conversation.delete", "conversation", str(CONVERSATION), 204),
        ),
        ("DELETE", "/api/admin/cache", None, ("cache.invalidate", "tenant", None, 200)),
        ("DELETE", "/api/admin/cache?agent_id=1", None, ("cache.invalidate", "agent", "1", 200)),
    ],
)
async def test_every_kind_of_change(
    world: World,
    client: httpx2.AsyncClient,
    method: str,
    path: str,
    body: Any,
    expected: tuple[str, str, str | None, int],
) -> None:
    response = await client.request(method, path, json=body)
    assert response.status_code == expected[3]
    assert of(world) == [(*expected[:3], "ok", expected[3])]


async def test_a_change_of_two_objects_is_two_entries(
    world: World, client: httpx2.AsyncClient
) -> None:
    await client.delete("/api/admin/cache?portfolio_id=1&agent_id=2")
    assert [each[1:3] for each in of(world)] == [("agent", "2"), ("portfolio", "1")]


async def test_refused_changes_are_recorded_by_what_became_of_them(world: World) -> None:
    async with client_of(world) as client:
        client.headers["Authorization"] = "Bearer admin"
        await client.delete("/api/agents/99")
        await client.post("/api/agents", json={"name": AGENT["name"]})
        await client.post("/api/agents", json={"nonsense": 1})
        client.headers["Authorization"] = "Bearer member"
        await client.delete("/api/agents/1")
        await client.delete("/api/agents/1")
    by_status = sorted(world.audit.entries, key=lambda entry: entry.status)
    assert [(e.status, e.result, e.action, e.role, e.count) for e in by_status] == [
        (403, "denied", "agent.delete", "member", 2),
        (404, "not_found", "agent.delete", "admin", 1),
        (409, "refused", "agent.create", "admin", 1),
        (422, "refused", "agent.create", "admin", 1),
    ]


async def test_reading_is_recorded_only_where_it_is_denied(world: World) -> None:
    async with client_of(world, Authorization="Bearer member") as client:
        await client.get("/api/agents")
        await client.get("/api/agents/99")
        await client.get("/api/admin/stats")
    assert of(world) == [("stats.read", "stats", None, "denied", 403)]


async def test_questions_are_conversations_and_not_recorded(
    world: World, client: httpx2.AsyncClient
) -> None:
    for path in ("/api/agents/1/chat", "/api/agents/1/chat/stream"):
        assert (await client.post(path, json={"message": "hi"})).status_code == 200
        assert (await client.post(path, json={"message": ""})).status_code == 422
    assert not world.audit.entries


async def test_nothing_that_a_caller_wrote_is_in_it(world: World) -> None:
    """But his request's id."""
    async with client_of(world) as client:
        await client.delete("/api/agents/sk-secret")
        await client.delete("/api/conversations/sk-secret")
        await client.delete("/api/admin/cache?agent_id=sk-secret")
        await client.post("/api/agents?name=sk-secret", content=b"sk-secret")
        await client.post("/api/agents", json={"name": "sk-secret", "model": "sk-secret"})
    assert [entry.status for entry in world.audit.entries] == [422, 422, 422, 415, 201]
    assert "sk-secret" not in repr(world.audit.entries)


async def test_owners_read_it_and_that_is_recorded(world: World) -> None:
    async with client_of(world) as client:
        made = await client.post("/api/agents", json={"name": "second"})
        response = await client.get("/api/admin/audit")
        assert response.status_code == 200
        page = response.json()
        assert page["next"] is None
        [item] = page["items"]
        at = item.pop("at")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", at)
        assert item == {
            "id": 1,
            "subject": "owner",
            "role": "owner",
            "action": "agent.create",
            "object_kind": "agent",
            "object_id": "2",
            "result": "ok",
            "status": 201,
            "count": 1,
            "request_id": made.headers["x-request-id"],
            "address": "127.0.0.1",
        }
        reads = await client.get("/api/admin/audit", params={"action": "audit.read", "limit": 1})
        assert [each["action"] for each in reads.json()["items"]] == ["audit.read"]
        none = await client.get("/api/admin/audit", params={"subject": "user:9"})
        assert none.json()["items"] == []
        for role in ("admin", "member"):
            client.headers["Authorization"] = f"Bearer {role}"
            assert (await client.get("/api/admin/audit")).status_code == 403
    denied = [entry for entry in world.audit.entries if entry.result == "denied"]
    assert [(entry.action, entry.role) for entry in denied] == [
        ("audit.read", "admin"),
        ("audit.read", "member"),
    ]


async def test_a_change_that_cannot_be_recorded_yet_is_answered(
    world: World, client: httpx2.AsyncClient
) -> None:
    world.audit.away = True
    assert (await client.post("/api/agents", json={"name": "second"})).status_code == 201
    world.audit.away = False
    assert (await client.post("/api/agents", json={"name": "third"})).status_code == 201
    assert [each[2] for each in of(world)] == ["2", "3"]


async def test_an_error_nobody_expected_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr(world.agents, "delete", broken)
    async with client_of(world) as client:
        assert (await client.delete("/api/agents/1")).status_code == 500
    assert of(world) == [("agent.delete", "agent", "1", "failed", 500)]


async def test_a_strangers_request_is_nobodys(world: World) -> None:
    world.anonymous_owner = False
    async with client_of(world) as client:
        for headers in ({}, {"Authorization": "Bearer cs_unknown"}):
            assert (await client.delete("/api/agents/1", headers=headers)).status_code == 401
    assert not world.audit.entries


async def test_a_refused_credential_is_its_holders(world: World) -> None:
    world.audit.holders["revoked"] = Scope(1, "user:7", "member")
    async with client_of(world, Authorization="Bearer revoked") as client:
        assert (await client.get("/api/agents")).status_code == 401
        assert (await client.post("/api/agents/1/chat", json={"message": "hi"})).status_code == 401
    assert [(e.subject, e.action, e.result, e.status) for e in world.audit.entries] == [
        ("user:7", "agent.list", "denied", 401),
        ("user:7", "chat.ask", "denied", 401),
    ]
