"""What the shipped nginx configuration does to the service's answers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from app.api.middleware import SECURITY
from app.api.problems import SCHEMA
from app.api.sse import HEARTBEAT_SECONDS
from tests.support.edge import Edge, client, edge
from tests.support.live import Live, events
from tests.support.vendors import Script, VendorServer, unused_url

CHAT = "/api/agents/1/chat"
QUESTION = "Who finished the Atlas project?"
TOKENS = ["Ana", " Ruiz", " finished", " it", " in", " 2021."]
# A page that a browser asks for says that it takes any compression.
COMPRESSED = {"Accept-Encoding": "gzip, deflate, br"}


@pytest.fixture(scope="module")
async def front(replica: Live) -> AsyncIterator[Edge]:
    async with edge(of(replica)) as server:
        yield server


@pytest.fixture
async def http(front: Edge, key: dict[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(front, headers=key) as each:
        yield each


def of(live: Live) -> str:
    return live.url.removeprefix("http://")


def asking(http: httpx2.AsyncClient, agent: int, **headers: str) -> Any:
    body = {"message": QUESTION, "cache": "off"}
    return http.stream("POST", f"/api/agents/{agent}/chat/stream", json=body, headers=headers)


async def test_a_token_arrives_before_the_next_one_is_made(
    http: httpx2.AsyncClient, agent: int, vendor: VendorServer
) -> None:
    gates = [asyncio.Event() for _ in TOKENS[1:]]
    vendor.script = Script(tokens=TOKENS, gates=dict(enumerate(gates, 1)))
    heard = []
    async with asyncio.timeout(30), asking(http, agent, **COMPRESSED) as response:
        assert response.status_code == 200
        assert "content-encoding" not in response.headers
        async for event in events(response):
            if event["type"] != "token":
                continue
            heard.append(event["content"])
            if len(heard) < len(TOKENS):
                gates[len(heard) - 1].set()  # nothing of the rest exists until this one was heard
    assert "".join(heard) == "".join(TOKENS)


async def test_the_same_events_come_through_nginx_as_without(
    http: httpx2.AsyncClient, replica: Live, agent: int, vendor: VendorServer
) -> None:
    vendor.script = Script(tokens=TOKENS)
    told = []
    for way in (http, replica.http):
        async with asking(way, agent) as response:
            told.append([(each["type"], each.get("content")) async for each in events(response)])
            assert response.headers["cache-control"] == "no-cache"
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert told[0] == told[1]
    assert told[0][-1][0] == "done"


async def test_a_run_is_read_again_unbuffered(
    http: httpx2.AsyncClient, agent: int, vendor: VendorServer
) -> None:
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={1: gate})
    async with asyncio.timeout(30), asking(http, agent) as asked:
        followed = events(asked)
        first = await anext(followed)
        async with http.stream(
            "GET", f"/api/runs/{first['run_id']}/events", headers=COMPRESSED
        ) as again:
            assert "content-encoding" not in again.headers
            types = []
            async for event in events(again):
                types.append(event["type"])
                if event["type"] == "token":
                    gate.set()
        assert (await anext(followed))["type"] == "sources"  # the first one hears it all as well
    assert types[-1] == "done"


async def test_leaving_nginx_is_leaving_the_service(
    http: httpx2.AsyncClient, agent: int, vendor: VendorServer
) -> None:
    vendor.script = Script(tokens=TOKENS, gates={1: asyncio.Event()})
    count = len(vendor.requests)
    async with asking(http, agent) as response:
        async for event in events(response):
            if event["type"] == "token":
                break
    async with asyncio.timeout(30):
        asked = await vendor.wait_for(count + 1)
        await asked.gone.wait()


async def test_what_is_no_stream_is_compressed(http: httpx2.AsyncClient) -> None:
    response = await http.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert response.json()["openapi"]


async def test_nobody_is_the_owner_who_comes_through_nginx(front: Edge) -> None:
    """The replica listens on loopback, where a request without a key is the owner's."""
    async with client(front) as stranger:
        response = await stranger.get("/api/agents", headers={"Host": "localhost"})
        assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
        assert (await stranger.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("path", "megabytes"), [("/api/portfolios/1/documents", 34), ("/api/agents/1/chat", 2)]
)
async def test_a_body_that_is_too_large_is_refused_as_the_service_would(
    http: httpx2.AsyncClient, path: str, megabytes: int
) -> None:
    headers = {"Content-Type": "application/json", "X-Request-ID": "too-large"}
    response = await http.post(path, content=b" " * (megabytes << 20), headers=headers)
    assert_problem(response, 413, "too_large", "too-large")


async def test_a_document_of_megabytes_goes_through(http: httpx2.AsyncClient, agent: int) -> None:
    documents = [{"title": str(each), "text": "word " * 200_000} for each in range(3)]
    response = await http.post("/api/portfolios/999999/documents", json={"documents": documents})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_a_request_has_one_id_everywhere(
    http: httpx2.AsyncClient, front: Edge, replica: Live
) -> None:
    response = await http.get("/api/agents?limit=1", headers={"X-Request-ID": "a-b.c_1"})
    assert response.headers.get_list("x-request-id") == ["a-b.c_1"]
    entry = await front.logged("a-b.c_1")
    assert (entry["status"], entry["path"], entry["upstream"]) == (200, "/api/agents", of(replica))
    # Both in whole milliseconds, of clocks that were looked at a moment apart.
    assert float(entry["seconds"]) + 0.0015 >= float(entry["header_seconds"]) >= 0
    assert entry["client"] == "127.0.0.1"

    response = await http.get("/api/agents", headers={"X-Request-ID": '"} spaces and more'})
    made = response.headers["x-request-id"]
    assert made != '"} spaces and more'
    assert (await front.logged(made))["status"] == 200


async def test_metrics_stay_inside(http: httpx2.AsyncClient, replica: Live) -> None:
    assert (await replica.http.get("/metrics")).status_code == 200
    for path in ("/metrics", "//metrics", "/%6detrics", "/api/../metrics"):
        response = await http.get(httpx2.URL(http.base_url, raw_path=path.encode()))
        assert response.status_code == 404, path
    assert_problem(await http.get("/metrics", headers={"X-Request-ID": "m"}), 404, "not_found", "m")


@pytest.mark.parametrize("path", ["/", "/api/agents", "/api/agents/999999", "/nothing", "/metrics"])
async def test_security_headers_are_there_once_whoever_answers(
    http: httpx2.AsyncClient, path: str
) -> None:
    response = await http.get(path)
    for name, _ in SECURITY:
        assert len(response.headers.get_list(name.decode())) == 1, name
    assert "strict-transport-security" not in response.headers  # not over plain HTTP
    if path == "/metrics":  # nginx's own
        own = {name.decode(): value.decode() for name, value in SECURITY}
        assert {name: response.headers[name] for name in own} == own


async def test_who_asks_too_often_is_told_so(replica: Live) -> None:
    limits = "limit_req_zone $binary_remote_addr zone=requests:1m rate=1r/m;\n"
    limits += "limit_req zone=requests;\nlimit_req_status 429;\n"
    async with edge(of(replica), clients=limits) as front, client(front) as http:
        assert (await http.get("/healthz")).status_code == 200
        response = await http.get("/healthz", headers={"X-Request-ID": "often"})
    assert_problem(response, 429, "rate_limited", "often")
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "1"}])
@pytest.mark.parametrize(("method", "path"), [("GET", "/api/agents"), ("POST", CHAT)])
async def test_without_a_replica_the_answer_is_a_problem(
    method: str, path: str, headers: dict[str, str]
) -> None:
    async with edge(unused_url().removeprefix("http://")) as front, client(front) as http:
        response = await http.request(method, path, headers={"X-Request-ID": "none", **headers})
    assert_problem(response, 503, "unavailable", "none")
    assert response.headers["retry-after"] == "1"


def test_silence_is_waited_for_longer_than_a_heartbeat(front: Edge) -> None:
    seconds = [
        int(line.split("s;")[0].split()[-1])
        for name in ("nginx", "stream", "routes")
        for line in front.read(name).splitlines()
        if line.strip().startswith("proxy_read_timeout")
    ]
    assert len(seconds) == 3
    assert min(seconds) >= 3 * HEARTBEAT_SECONDS


async def test_a_reload_cuts_no_stream(
    replica: Live, key: dict[str, str], agent: int, vendor: VendorServer
) -> None:
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={1: gate})
    async with (
        asyncio.timeout(30),
        edge(of(replica)) as front,
        client(front, headers=key) as http,
        asking(http, agent) as response,
    ):
        told = events(response)
        while (await anext(told))["type"] != "token":
            pass
        front.write("routes", "location / { return 418; }")
        front.reload()
        # Each time over a connection of its own: a reload closes those that wait for a request.
        async with client(front, headers={"Connection": "close"}) as other:
            while (await other.get("/healthz")).status_code != 418:
                pass
        gate.set()
        rest = [event["type"] async for event in told]
    assert rest[-1] == "done"


def assert_problem(response: httpx2.Response, status: int, code: str, request_id: str) -> None:
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == body["request_id"] == request_id
    assert set(SCHEMA["required"]) <= set(body)
