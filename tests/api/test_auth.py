"""Who a request acts for, and what it may do."""

from typing import Any

import pytest
from fastapi import APIRouter, Depends

from app.api.auth import identify, is_loopback_host
from tests.api.sockets import connection, request_head, serving
from tests.api.test_problems import check_problem
from tests.support.api_fakes import OWNER, World, client_of

AGENTS = "/api/agents"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers",
    [
        bearer("wrong"),
        bearer(""),
        bearer("x" * 513),
        {"Authorization": "owner"},
        {"Authorization": "Basic b3duZXI6"},
        {"Authorization": ""},
    ],
)
@pytest.mark.parametrize("anonymous_owner", [True, False])
async def test_a_wrong_key_is_refused_even_where_none_is_needed(
    headers: dict[str, str], anonymous_owner: bool
) -> None:
    async with client_of(World(anonymous_owner=anonymous_owner)) as client:
        response = await client.get(AGENTS, headers=headers)
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_without_a_key_a_server_that_needs_one_refuses() -> None:
    async with client_of(World(anonymous_owner=False)) as client:
        check_problem(await client.get(AGENTS), 401, "unauthorized")
        assert (await client.get(AGENTS, headers=bearer("member"))).status_code == 200
        lower_case = await client.get(AGENTS, headers={"Authorization": "bearer member"})
        assert lower_case.status_code == 200


async def test_the_key_comes_before_everything_else_about_a_request() -> None:
    async with client_of(World(anonymous_owner=False)) as client:
        for content in (b"{", b" " * 300_000):
            check_problem(
                await client.post("/api/agents/1/chat", content=content), 401, "unauthorized"
            )
        check_problem(await client.get("/api/agents/x"), 401, "unauthorized")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "127.9.9.9:1", "[::1]:8000"],
)
async def test_this_machine_needs_no_key(host: str) -> None:
    world = World()
    async with client_of(world) as client:
        for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
            response = await client.post(
                "/api/agents/1/chat", json={"message": "hi"}, headers=headers
            )
            assert response.status_code == 200
    assert {scope for scope, _, _ in world.engine.asked} == {OWNER}


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "192.168.0.1",
        "0.0.0.0",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "[::2]",
        "",
        "localhost:x",
        "127.1",
    ],
)
async def test_another_name_for_this_machine_is_refused(host: str) -> None:
    assert not is_loopback_host(host)
    async with client_of(World()) as client:
        check_problem(await client.get(AGENTS, headers={"Host": host}), 403, "forbidden")


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Server",
        "X-Real-IP",
        "X-Client-IP",
        "CF-Connecting-IP",
        "True-Client-IP",
    ],
)
async def test_behind_a_proxy_nobody_is_the_owner_without_a_key(header: str) -> None:
    async with client_of(World()) as client:
        check_problem(
            await client.get(AGENTS, headers={header: "for=10.0.0.7"}), 401, "unauthorized"
        )


async def test_behind_a_proxy_that_says_nothing_nobody_is_the_owner_either() -> None:
    """nginx with `proxy_pass http://127.0.0.1:8000` and nothing else."""
    async with serving(World().app()) as port:
        for version, status in ((b"1.0", b"401"), (b"1.1", b"200")):
            async with connection(port) as (reader, writer):
                asked = request_head("GET", AGENTS, "Connection: close")
                writer.write(asked.replace(b"HTTP/1.1", b"HTTP/" + version))
                assert (await reader.readline()).split()[1] == status


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9000", "127.0.0.1:8000", ""]
)
async def test_a_page_of_another_site_is_refused(origin: str) -> None:
    async with client_of(World()) as client:
        headers = {"Origin": origin}
        response = await client.delete("/api/agents/1", headers=headers)
        check_problem(response, 403, "forbidden")
        with_key = await client.get(AGENTS, headers={**headers, **bearer("owner")})
        assert with_key.status_code == 200


ADMINISTRATION: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/agents", {"json": {"name": "x"}}),
    ("POST", "/api/agents", {"content": b"{"}),
    ("PATCH", "/api/agents/1", {"json": {"name": "x"}}),
    ("DELETE", "/api/agents/1", {}),
    ("POST", "/api/portfolios", {"json": {"name": "x"}}),
    ("PATCH", "/api/portfolios/1", {"json": {"name": "x"}}),
    ("DELETE", "/api/portfolios/1", {}),
    ("POST", "/api/portfolios/1/documents", {"json": {"documents": []}}),
    ("DELETE", "/api/admin/cache", {}),
    ("GET", "/api/admin/stats", {}),
]


@pytest.mark.parametrize(("method", "path", "request_"), ADMINISTRATION)
async def test_a_member_administers_nothing(
    method: str, path: str, request_: dict[str, Any]
) -> None:
    world = World()
    async with client_of(world, **bearer("member")) as client:
        check_problem(await client.request(method, path, **request_), 403, "forbidden")
    assert not world.invalidation.raised


async def test_a_member_removes_no_document() -> None:
    world = World()
    async with client_of(world, **bearer("owner")) as client:
        body = {"documents": [{"title": "Note", "text": "React."}]}
        await client.post("/api/portfolios/1/documents", json=body)
        response = await client.delete("/api/documents/1", headers=bearer("member"))
        check_problem(response, 403, "forbidden")
        check_problem(await client.delete("/api/documents/2"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        ("GET", "/api/agents", {}),
        ("GET", "/api/agents/1", {}),
        ("GET", "/api/portfolios", {}),
        ("GET", "/api/portfolios/1/documents", {}),
        ("GET", "/api/conversations", {}),
        ("POST", "/api/agents/1/chat", {"json": {"message": "hi"}}),
        ("POST", "/api/agents/1/chat/stream", {"json": {"message": "hi"}}),
        ("POST", "/api/retrieve", {"json": {"query": "x", "portfolio_id": 1}}),
    ],
)
async def test_a_member_reads_and_asks(method: str, path: str, request_: dict[str, Any]) -> None:
    async with client_of(World(), **bearer("member")) as client:
        assert (await client.request(method, path, **request_)).status_code == 200


async def test_an_admin_administers() -> None:
    async with client_of(World(), **bearer("admin")) as client:
        assert (await client.post("/api/agents", json={"name": "x"})).status_code == 201


async def test_another_tenants_run_is_not_found() -> None:
    world = World()
    async with client_of(world) as client:
        run = await world.engine.start(OWNER, None)  # type: ignore[arg-type]
        await run.answer()
        foreign = bearer("stranger")
        path = f"/api/runs/{run.id}"
        check_problem(await client.get(f"{path}/events", headers=foreign), 404, "not_found")
        check_problem(await client.post(f"{path}/cancel", headers=foreign), 404, "not_found")


READING = [AGENTS, "/api/agents/1", "/api/portfolios/1/documents", "/api/conversations?limit=1"]


@pytest.mark.parametrize("path", READING)
async def test_what_only_reads_looks_a_credential_up_with_what_it_reads(path: str) -> None:
    world = World()
    async with client_of(world) as client:
        assert (await client.get(path, headers=bearer("admin"))).status_code == 200
        assert world.credentials.looked_up == 0
        check_problem(await client.get(path, headers=bearer("wrong")), 401, "unauthorized")


async def test_a_call_that_asks_for_no_caller_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    app = world.app()
    careless = APIRouter(dependencies=[Depends(identify)])
    careless.add_api_route("/api/careless", lambda: "told")
    app.include_router(careless)
    monkeypatch.setattr(world, "app", lambda: app)
    async with client_of(world) as client:
        asked = [await client.get("/api/careless", headers=bearer(key)) for key in ("member", "no")]
    assert asked[0].json() == "told"
    check_problem(asked[1], 401, "unauthorized")


@pytest.mark.parametrize(
    "path", ["/api/agents/999", "/api/agents/1_0", f"{AGENTS}?limit=0", f"{AGENTS}?after=x"]
)
async def test_what_is_wrong_with_reading_is_told_to_callers_only(path: str) -> None:
    async with client_of(World()) as client:
        assert (await client.get(path, headers=bearer("member"))).status_code in (404, 422)
        check_problem(await client.get(path, headers=bearer("wrong")), 401, "unauthorized")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/admin/stats"), ("GET", "/api/admin/usage"), ("DELETE", "/api/admin/cache")],
)
async def test_a_credential_is_looked_up_once(method: str, path: str) -> None:
    world = World()
    async with client_of(world) as client:
        response = await client.request(method, path, headers=bearer("admin"))
    assert response.status_code in (200, 204)
    assert world.credentials.looked_up == 1
