"""What every response carries and every request leaves in the log; the page's headers."""

import httpx2
import pytest
from structlog.testing import capture_logs

from app.api.page import page_router
from tests.support.api_fakes import World, client_of


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/nothing", "/api/agents/7", "/openapi.json", "/api/agents?limit=x"]
)
async def test_every_response_carries_a_request_id(client: httpx2.AsyncClient, path: str) -> None:
    given = await client.get(path, headers={"X-Request-ID": "abc.DEF_1-2"})
    assert given.headers["x-request-id"] == "abc.DEF_1-2"
    made = [(await client.get(path)).headers["x-request-id"] for _ in range(2)]
    assert len(set(made)) == 2
    assert given.headers["x-content-type-options"] == "nosniff"
    for wrong in ("", "a b", "x" * 129, "é".encode(), 'a"', "a\tb"):
        refused = await client.get(path, headers={"X-Request-ID": wrong})  # type: ignore[dict-item]
        assert len(refused.headers["x-request-id"]) == 32


async def test_a_stream_carries_one_too(client: httpx2.AsyncClient) -> None:
    response = await client.post("/api/agents/1/chat/stream", json={"message": "hi"})
    assert response.headers["x-request-id"]


async def test_the_access_log_holds_no_content(client: httpx2.AsyncClient) -> None:
    with capture_logs() as logs:
        await client.post("/api/agents/1/chat?token=secret", json={"message": "secret"})
        await client.get("/api/secret")
    assert [(line["event"], line["method"], line["path"], line["status"]) for line in logs] == [
        ("request", "POST", "/api/agents/{agent_id}/chat", 200),
        ("request", "GET", "(no route)", 404),
    ]
    assert all(line["ms"] >= 0 for line in logs)
    assert "secret" not in str(logs)


async def test_a_bug_is_logged_with_its_traceback() -> None:
    world = World()

    async def broken() -> dict[str, str]:
        raise RuntimeError("the reason")

    world.readiness = broken  # type: ignore[method-assign]
    with capture_logs() as logs:
        async with client_of(world) as client:
            await client.get("/readyz")
    error, access = logs
    assert (error["event"], error["log_level"], error["exc_info"]) == (
        "unhandled error",
        "error",
        True,
    )
    assert access["status"] == 500


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ],
)
async def test_the_page(client: httpx2.AsyncClient, path: str, content_type: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["cache-control"] == "no-cache"
    again = await client.get(path, headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = await client.head(path)
    assert (head.status_code, head.content) == (200, b"")


def test_only_the_pages_own_files_are_served() -> None:
    paths = {route.path for route in page_router().routes}  # type: ignore[attr-defined]
    assert {"/", "/app.js", "/style.css", "/favicon.svg"} <= paths
    assert all(path.rpartition(".")[2] in {"/", "js", "css", "svg"} for path in paths)
