"""Users and API keys over HTTP, on the real service."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.live import Live, unique


@pytest.fixture
async def owner(live: Live) -> AsyncIterator[Live]:
    """The service as a new tenant's owner sees it."""
    key = await live.services.credentials.create(unique("tenant"), "first")
    async with live.with_key(key) as owner:
        yield owner


async def key_of(owner: Live, **values: Any) -> Any:
    return await owner.json("POST", "/api/keys", 201, json={"name": "k", **values})


async def test_a_users_life(owner: Live) -> None:
    body = {"email": "Ada@Example.com", "name": "Ada", "role": "admin"}
    created = await owner.http.post("/api/users", json=body)
    assert created.status_code == 201
    made = created.json()
    path = created.headers["location"]
    assert path == f"/api/users/{made['id']}"
    assert made["email"] == "ada@example.com" and made["disabled"] is False
    assert await owner.json("GET", path) == made
    changed = await owner.json("PATCH", path, json={"disabled": True, "name": ""})
    assert changed == {**made, "disabled": True, "name": ""}
    assert (await owner.json("GET", "/api/users"))["items"] == [changed]
    assert (await owner.json("PATCH", path, json={"sign_out_everywhere": True})) == changed
    await owner.json("DELETE", path, 204)
    await owner.json("GET", path, 404)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"email": "ada"}, 422),
        ({"email": "a@example.com", "role": "root"}, 422),
        ({"email": "a@example.com", "disabled": True}, 422),
        ({"email": "a@example.com", "name": "x" * 101}, 422),
        ({"email": 7}, 422),
    ],
)
async def test_users_that_cannot_be_are_refused(
    owner: Live, body: dict[str, Any], status: int
) -> None:
    await owner.json("POST", "/api/users", status, json=body)


@pytest.mark.parametrize(
    "body", [{}, {"disabled": None}, {"sign_out_everywhere": False}, {"name": None}, {"id": 1}]
)
async def test_changes_that_say_nothing_are_refused(owner: Live, body: dict[str, Any]) -> None:
    made = await owner.json("POST", "/api/users", 201, json={"email": "a@example.com"})
    await owner.json("PATCH", f"/api/users/{made['id']}", 422, json=body)


async def test_an_address_is_taken_once(owner: Live) -> None:
    body = {"email": "a@example.com"}
    await owner.json("POST", "/api/users", 201, json=body)
    await owner.json("POST", "/api/users", 409, json={"email": "A@EXAMPLE.COM"})


async def test_a_key_is_shown_once(owner: Live) -> None:
    created = await owner.http.post("/api/keys", json={"name": "ci", "role": "member"})
    assert created.headers["cache-control"] == "no-store"
    made = created.json()
    secret = made.pop("key")
    path = created.headers["location"]
    assert made["last4"] == secret[-4:]
    assert await owner.json("GET", path) == made
    listed = await owner.http.get("/api/keys")
    assert made in listed.json()["items"] and secret not in listed.text
    async with owner.with_key(secret) as member:
        await member.json("GET", "/api/agents")
        await owner.json("DELETE", path, 204)
        await member.json("GET", "/api/agents", 401)
    await owner.json("GET", path, 404)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "k", "role": "root"},
        {"name": "k", "portfolio_ids": []},
        {"name": "k", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "k", "expires_at": "2999-01-01T00:00:00"},
        {"name": "k", "expires_at": "9999-12-31T23:59:59-09:00"},
        {"name": "k", "expires_at": "99999999999"},
        {"name": "k", "expires_at": 99999999999},
        {"name": "k", "key": "cs_mine"},
    ],
)
async def test_keys_that_cannot_be_are_refused(owner: Live, body: dict[str, Any]) -> None:
    await owner.json("POST", "/api/keys", 422, json=body)


async def test_a_limited_key_sees_its_portfolio_only(owner: Live) -> None:
    seen, hidden = await owner.portfolio(unique("seen")), await owner.portfolio(unique("hidden"))
    await owner.json("POST", "/api/keys", 404, json={"name": "k", "portfolio_ids": [2**62]})
    made = await key_of(owner, portfolio_ids=[seen], expires_at="2999-01-01T00:00:00+02:00")
    assert made["expires_at"] == "2998-12-31T22:00:00+00:00" and made["portfolio_ids"] == [seen]
    async with owner.with_key(made["key"]) as limited:
        listed = await limited.json("GET", "/api/portfolios")
        assert [each["id"] for each in listed["items"]] == [seen]
        await limited.json("GET", f"/api/portfolios/{hidden}", 404)


async def test_an_admin_touches_no_owner(owner: Live) -> None:
    boss = await owner.json("POST", "/api/users", 201, json={"email": "o@x.de", "role": "owner"})
    path = f"/api/users/{boss['id']}"
    async with owner.with_key((await key_of(owner, role="admin"))["key"]) as admin:
        await admin.json("PATCH", path, 403, json={"name": "x"})
        await admin.json("DELETE", path, 403)
        await admin.json("POST", "/api/users", 403, json={"email": "y@x.de", "role": "owner"})
        await admin.json("POST", "/api/keys", 403, json={"name": "k", "role": "owner"})
        await admin.json("POST", "/api/keys", 403, json={"name": "k", "user_id": boss["id"]})
        [first] = [
            each
            for each in (await admin.json("GET", "/api/keys"))["items"]
            if each["role"] == "owner"
        ]
        await admin.json("DELETE", f"/api/keys/{first['id']}", 403)
        await admin.json("POST", "/api/users", 201, json={"email": "z@x.de", "role": "admin"})


async def test_the_last_owner_stays(owner: Live) -> None:
    [first] = (await owner.json("GET", "/api/keys"))["items"]
    await owner.json("DELETE", f"/api/keys/{first['id']}", 409)


async def test_users_of_another_tenant_are_not_found(owner: Live, live: Live) -> None:
    made = await owner.json("POST", "/api/users", 201, json={"email": "a@example.com"})
    key = await key_of(owner)
    for path in (f"/api/users/{made['id']}", f"/api/keys/{key['id']}"):
        await live.json("GET", path, 404)
        await live.json("DELETE", path, 404)
    await live.json("POST", "/api/keys", 404, json={"name": "k", "user_id": made["id"]})
