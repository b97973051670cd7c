"""To a browser an answer of the API is data, whichever answer it is."""

from typing import Any

import httpx2
import orjson
import pytest

from app.main import create_app
from tests.support.api_fakes import World, client_of

COMMON = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
# What a browser may draw or run; the page's own files alone are of these types.
RENDERABLE = ("html", "svg", "xml", "javascript", "css", "pdf", "image/", "text/plain", "octet")


def counts(response: httpx2.Response) -> dict[str, list[str]]:
    return {name: response.headers.get_list(name) for name in COMMON}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/agents", 200),
        ("GET", "/api/agents/999", 404),
        ("GET", "/nothing", 404),
        ("PUT", "/api/agents", 405),
        ("GET", "/metrics", 200),
        ("GET", "/healthz", 200),
        ("GET", "/openapi.json", 200),
        ("POST", "/api/agents/1/chat", 415),
    ],
)
async def test_every_answer_has_them_once(
    client: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)
    assert response.status_code == status
    assert counts(response) == {name: [value] for name, value in COMMON.items()}


async def test_a_stream_has_them(client: httpx2.AsyncClient) -> None:
    response = await client.post("/api/agents/1/chat/stream", json={"message": "hi"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert counts(response) == {name: [value] for name, value in COMMON.items()}


async def test_a_bug_s_answer_has_them() -> None:
    world = World()

    async def broken() -> dict[str, str]:
        raise RuntimeError("the reason")

    world.readiness = broken  # type: ignore[method-assign]
    async with client_of(world) as client:
        response = await client.get("/readyz")
    assert response.status_code == 500
    assert counts(response) == {name: [value] for name, value in COMMON.items()}


@pytest.mark.parametrize("path", ["/", "/app.js", "/style.css", "/favicon.svg"])
async def test_the_page_keeps_its_own_policy(client: httpx2.AsyncClient, path: str) -> None:
    response = await client.get(path)
    found = counts(response)
    [policy] = found.pop("content-security-policy")
    assert "script-src 'self'" in policy and "unsafe" not in policy
    assert found == {name: [COMMON[name]] for name in found}


def test_no_call_answers_with_what_a_browser_draws() -> None:
    def never() -> Any:
        raise AssertionError("nothing starts the application that only describes itself")

    document = orjson.loads(orjson.dumps(create_app(never).openapi()))
    types = {
        media_type
        for methods in document["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
        for media_type in response.get("content", {})
    }
    assert types <= {"application/json", "application/problem+json", "text/event-stream"}
    assert not [each for each in types if any(part in each for part in RENDERABLE)]
