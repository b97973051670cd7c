"""Pages of other sites, as a browser asks for them: over real sockets, on every kind of answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from structlog.testing import capture_logs

from app.api.cors import Preflights
from app.chat.events import Token
from app.errors import RateLimited
from app.main import create_app
from tests.api.sockets import serving
from tests.support.api_fakes import ANSWERED, START, World
from tests.support.live import PLAIN

LISTED, OTHER = "https://app.example.org", "https://elsewhere.example"
CHAT = "/api/agents/1/chat"
KEY = {"Authorization": "Bearer member"}
EXPOSED = {
    *("x-request-id", "retry-after", "server-timing"),
    *("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "ratelimit-policy"),
}


@asynccontextmanager
async def service(world: World, *origins: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(create_app(world.services, origins=origins)) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", **PLAIN) as http,
    ):
        yield http


@pytest.fixture(scope="module")
async def strict() -> AsyncIterator[httpx2.AsyncClient]:
    """Of a service that nobody uses without a key, for a listed site."""
    async with service(World(anonymous_owner=False), LISTED) as http:
        yield http


@pytest.fixture(scope="module")
async def open_one() -> AsyncIterator[httpx2.AsyncClient]:
    """Of one that is open to whoever sits at its machine, for a listed site."""
    async with service(World(), LISTED) as http:
        yield http


def cors(response: httpx2.Response) -> dict[str, str]:
    begin = "access-control-"
    return {name[len(begin) :]: value for name, value in response.headers.items() if begin in name}


async def preflight(
    http: httpx2.AsyncClient, path: str, method: str, headers: str, origin: str = LISTED
) -> httpx2.Response:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return await http.options(path, headers={"Origin": origin, **asked})


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("header", ["authorization", "idempotency-key", "x-request-id"])
async def test_a_listed_site_may_ask_with_a_key(
    strict: httpx2.AsyncClient, method: str, header: str
) -> None:
    allowed = await preflight(strict, CHAT, method, f"content-type,{header}")
    assert allowed.status_code == 200
    said = cors(allowed)
    assert said["allow-origin"] == LISTED
    assert method in said["allow-methods"]
    assert header in said["allow-headers"].lower()
    assert "allow-credentials" not in said, "no cookie crosses sites"
    assert allowed.headers["x-request-id"]
    assert allowed.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "headers", "origin"),
    [
        ("POST", "authorization", OTHER),
        ("POST", "authorization", "null"),
        ("POST", "authorization", LISTED + ":8443"),
        ("POST", "authorization", LISTED.replace("https", "http")),
        ("POST", "x-csrf-token", LISTED),
        ("PUT", "authorization", LISTED),
        ("TRACE", "authorization", LISTED),
    ],
)
async def test_nobody_else_may_and_nothing_else(
    open_one: httpx2.AsyncClient, method: str, headers: str, origin: str
) -> None:
    refused = await preflight(open_one, CHAT, method, headers, origin)
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert cors(refused).get("allow-origin") in (None, LISTED)


async def test_answers_streams_and_errors_can_be_read() -> None:
    world = World(anonymous_owner=False)

    async def broken() -> dict[str, str]:
        raise RuntimeError("a bug of ours")

    world.readiness = broken  # type: ignore[method-assign]
    world.engine.script = [START, Token("React"), *ANSWERED[-1:]]
    asked = {"json": {"message": "hi"}, "headers": {**KEY, "Origin": LISTED}}
    async with service(world, LISTED, "https://second.example") as http:
        answers = [
            (200, await http.get("/api/agents", headers=asked["headers"])),
            (200, await http.post(f"{CHAT}/stream", **asked)),
            (401, await http.get("/api/agents", headers={"Origin": LISTED})),
            (404, await http.get("/api/nothing", headers=asked["headers"])),
            (405, await http.put("/api/agents", headers=asked["headers"])),
            (413, await http.post(CHAT, json={"message": "x" * 300_000}, headers=asked["headers"])),
            (415, await http.post(CHAT, content=b"x", headers=asked["headers"])),
            (422, await http.post(CHAT, json={}, headers=asked["headers"])),
        ]
        world.engine.script = [RateLimited(retry_after=7.0)]
        answers.append((429, await http.post(CHAT, **asked)))
        with capture_logs():
            answers.append((500, await http.get("/readyz", headers=asked["headers"])))
    for status, response in answers:
        assert response.status_code == status, response.text
        said = cors(response)
        assert said["allow-origin"] == LISTED, status
        assert "origin" in response.headers["vary"].lower()
        assert set(said["expose-headers"].lower().split(", ")) == EXPOSED
        assert "allow-credentials" not in said
        assert response.headers["x-request-id"]
    assert answers[-2][1].headers["retry-after"] == "7"
    assert answers[1][1].headers["content-type"].startswith("text/event-stream")


async def test_another_site_and_no_site_are_told_nothing() -> None:
    async with service(World(), LISTED) as http:
        other = await http.get("/api/agents", headers={"Origin": OTHER, **KEY})
        none = await http.get("/api/agents", headers=KEY)
    assert "allow-origin" not in cors(other)
    assert cors(none) == {}


async def test_a_listed_site_without_a_key_is_nobody() -> None:
    """A server of one's own machine needs no key, but from its own page only."""
    async with service(World(), LISTED) as http:
        refused = await http.get("/api/agents", headers={"Origin": LISTED})
    assert refused.status_code == 403
    assert cors(refused)["allow-origin"] == LISTED


async def test_every_site_has_no_cookies_either() -> None:
    async with service(World(), "*") as http:
        sent = {"Origin": OTHER, "Cookie": "citestream_session=cs_s_x", **KEY}
        answer = await http.get("/api/agents", headers=sent)
    assert "allow-credentials" not in cors(answer)


async def test_without_sites_it_is_not_installed() -> None:
    app = create_app(World().services)
    assert Preflights not in [each.cls for each in app.user_middleware]
    async with service(World()) as http:
        asked = await preflight(http, CHAT, "POST", "authorization")
        assert asked.status_code == 405
        assert cors(asked) == {}
        assert cors(await http.get("/api/agents", headers={"Origin": LISTED, **KEY})) == {}
