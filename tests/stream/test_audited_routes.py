"""The audit log of the real service: who signed in, who did not, who changed what, who was refused.

Each test has a tenant of its own, whose owner reads the log as an owner does.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.command import environment
from tests.support.forking import Output
from tests.support.live import Live, live_service, unique

COOKIE = "citestream_session"
Entry = tuple[str, str, str, str | None, str, int]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


class Tenant:
    """A tenant's owner at a service."""

    def __init__(self, live: Live, key: str) -> None:
        self.live, self.key = live, key

    async def call(self, method: str, path: str, status: int, **request: Any) -> httpx2.Response:
        headers = {**bearer(self.key), **request.pop("headers", {})}
        response = await self.live.http.request(method, path, headers=headers, **request)
        assert response.status_code == status, response.text
        self.live.http.cookies.clear()
        return response

    async def log(self, **filters: str) -> list[dict[str, Any]]:
        """Oldest first, without the reading of it. What was refused comes within a moment, and at
        the latest with the next change: reading the log is one."""
        await self.call("GET", "/api/admin/audit", 200)
        response = await self.call("GET", "/api/admin/audit", 200, params=filters)
        items = response.json()["items"][::-1]
        return [item for item in items if item["action"] != "audit.read"]


def short(item: dict[str, Any]) -> Entry:
    kind = item["object_kind"], item["object_id"]
    return item["subject"], item["action"], *kind, item["result"], item["status"]


@asynccontextmanager
async def tenant_of(live: Live) -> AsyncIterator[Tenant]:
    yield Tenant(live, await live.services.credentials.create(unique("audit"), "test"))


@pytest.fixture
async def tenant(live: Live) -> AsyncIterator[Tenant]:
    async with tenant_of(live) as tenant:
        yield tenant


async def test_signing_in_and_out_by_whom_it_was(live: Live, tenant: Tenant) -> None:
    made = await tenant.call("POST", "/api/keys", 201, json={"name": "second", "role": "admin"})
    key, number = made.json()["key"], made.headers["location"].rpartition("/")[2]
    begun = await live.http.post("/api/session", json={"credential": key})
    assert begun.status_code == 200
    with_cookie = {"Cookie": f"{COOKIE}={begun.cookies[COOKIE]}"}
    live.http.cookies.clear()
    csrf = {"X-CSRF-Token": begun.json()["csrf_token"]}
    ended = await live.http.delete("/api/session", headers={**with_cookie, **csrf})
    assert ended.status_code == 204
    await tenant.call("DELETE", f"/api/keys/{number}", 204)
    refused = await live.http.post("/api/session", json={"credential": key})
    assert refused.status_code == 401
    assert (await live.http.get("/api/agents", headers=bearer(key))).status_code == 401
    unknown = await live.http.post("/api/session", json={"credential": f"cs_{'x' * 43}"})
    assert unknown.status_code == 401
    owner, other = (await tenant.log())[0]["subject"], f"key:{number}"
    assert [short(item) for item in await tenant.log()] == [
        (owner, "key.create", "key", number, "ok", 201),
        (other, "session.begin", "session", None, "ok", 200),
        (other, "session.end", "session", None, "ok", 204),
        (owner, "key.revoke", "key", number, "ok", 204),
        (other, "session.begin", "session", None, "denied", 401),
        (other, "agent.list", "agent", None, "denied", 401),
    ]


async def test_who_was_denied_and_what_was_not_there(live: Live, tenant: Tenant) -> None:
    made = await tenant.call("POST", "/api/keys", 201, json={"name": "a member"})
    member, number = made.json()["key"], made.headers["location"].rpartition("/")[2]
    for _ in range(3):
        response = await live.http.get("/api/admin/stats", headers=bearer(member))
        assert response.status_code == 403
    assert (await live.http.get("/api/admin/audit", headers=bearer(member))).status_code == 403
    await tenant.call("DELETE", "/api/agents/999999999", 404)
    await tenant.call("GET", "/api/agents/999999999", 404)
    refused = [item for item in await tenant.log() if item["result"] != "ok"]
    assert [(short(item), item["count"]) for item in refused] == [
        ((f"key:{number}", "stats.read", "stats", None, "denied", 403), 3),
        ((refused[-1]["subject"], "agent.delete", "agent", "999999999", "not_found", 404), 1),
    ]
    reads = await tenant.call("GET", "/api/admin/audit", 200, params={"action": "audit.read"})
    assert {item["result"] for item in reads.json()["items"]} == {"ok", "denied"}
    only = await tenant.log(subject=f"key:{number}")
    assert [item["action"] for item in only] == ["stats.read"]


async def test_an_object_is_recorded_however_its_id_is_written(tenant: Tenant) -> None:
    body = {"email": f"{unique('ada')}@example.com"}
    user = (await tenant.call("POST", "/api/users", 201, json=body)).json()["id"]
    for written in (f"{user}", f"0{user}", f"00{user}"):
        await tenant.call("PATCH", f"/api/users/{written}", 200, json={"name": written})
    for written in (f"%20{user}", f"+{user}", f"{user}.0"):
        await tenant.call("PATCH", f"/api/users/{written}", 422, json={"name": written})
    portfolios = [
        (await tenant.call("POST", "/api/portfolios", 201, json={"name": unique("p")})).json()["id"]
        for _ in range(2)
    ]
    # Of several the last one counts.
    query = "&".join(f"portfolio_id={each}" for each in portfolios)
    await tenant.call("DELETE", f"/api/admin/cache?{query}", 200)
    entries = await tenant.log()
    changed = [item["object_id"] for item in entries if item["action"] == "user.change"]
    assert changed == [str(user)] * 4
    assert entries[-1]["object_id"] == str(portfolios[1])


async def test_a_question_is_recorded_only_where_it_is_refused(
    connections: dict[str, Any],
) -> None:
    limits = {"tenant": {"requests_per_minute": 8}}
    async with (
        live_service(**connections, limits=limits) as live,
        live_service(**connections) as unlimited,
        tenant_of(live) as tenant,
    ):
        body = {"name": "extractive", "provider": "extractive"}
        agent = (await tenant.call("POST", "/api/agents", 201, json=body)).json()["id"]
        path, question = f"/api/agents/{agent}/chat", {"message": "Hello"}
        answers = [
            await live.http.post(path, json=question, headers=bearer(tenant.key)) for _ in range(12)
        ]
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        await asyncio.wait_for(_recorded(Tenant(unlimited, tenant.key), statuses.count(429)), 20)


async def _recorded(tenant: Tenant, count: int) -> None:
    """Return once so many refusals are there: another process has counted them."""
    while True:
        asked = await tenant.log(action="chat.ask")
        assert {item["result"] for item in asked} <= {"limited"}
        if sum(item["count"] for item in asked) == count:
            return


async def test_what_was_done_at_the_command_line(
    live: Live, connections: dict[str, Any], forked: Output, tmp_path: Path
) -> None:
    name, variables = (
        unique("commands"),
        environment(
            tmp_path,
            DATABASE_URL=connections["database_url"],
            REDIS_URL=connections["redis_url"],
            CITESTREAM_ENCODER__URL=connections["encoder"]["url"],
        ),
    )

    async def command(*arguments: str) -> str:
        status, printed = await forked(*arguments, "--tenant", name, env=variables)
        assert status == 0, printed
        return printed

    key = (await command("key")).split()[-1]
    await command("user", "add", "ada@example.com")
    await command("user", "disable", "ada@example.com")
    log = await Tenant(live, key).log()
    assert [(item["subject"], item["action"], item["result"]) for item in log] == [
        ("command", "key.create", "ok"),
        ("command", "user.create", "ok"),
        ("command", "user.change", "ok"),
    ]
    user = log[1]["object_id"]
    assert [item["object_id"] for item in log] == [log[0]["object_id"], user, user]
    read = await Tenant(live, key).call("GET", "/api/admin/audit", 200)
    assert read.json()["items"][0]["subject"] == f"key:{log[0]['object_id']}"


async def test_pages_and_other_tenants(live: Live, tenant: Tenant) -> None:
    for number in range(3):
        await tenant.call("POST", "/api/portfolios", 201, json={"name": f"p{number}"})
    seen, after = [], None
    while True:
        params = {"limit": 2, "action": "portfolio.create"} | ({"after": after} if after else {})
        page = (await tenant.call("GET", "/api/admin/audit", 200, params=params)).json()
        seen += [item["id"] for item in page["items"]]
        if (after := page["next"]) is None:
            break
    assert len(seen) == 3 and seen == sorted(seen, reverse=True)
    async with tenant_of(live) as other:
        assert await other.log() == []
    await tenant.call("GET", "/api/admin/audit", 422, params={"after": "x"})
