"""Which replica nginx asks, and when it asks another one."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from tests.support.edge import client, edge, edge_folder
from tests.support.vendors import reset, unused_url

CHAT = "/api/agents/1/chat"


class Replica:
    """Answers every request with its method and some headers, or loses it: the connection breaks
    once the request is there."""

    def __init__(self, *, loses: bool = False) -> None:
        self.loses = loses
        self.heads: list[dict[str, str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                pairs = (line.partition(":") for line in head.split("\r\n")[1:] if line)
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                await reader.readexactly(int(headers.get("content-length", "0")))
                self.heads.append(headers)
                if self.loses:
                    break
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        reset(writer)


@asynccontextmanager
async def listening(replica: Replica) -> AsyncIterator[str]:
    server = await asyncio.start_server(replica.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", [CHAT, "/api/agents", "/api/portfolios/1/documents"])
async def test_a_replica_that_is_away_is_passed_over(method: str, path: str) -> None:
    away = unused_url().removeprefix("http://")
    async with (
        listening(Replica()) as there,
        edge(f"{away} max_fails=2 fail_timeout=3s", there) as front,
        client(front) as http,
    ):
        for _ in range(6):
            content = None if method == "GET" else b"{}"
            assert (await http.request(method, path, content=content)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "repeated"),
    [
        ("GET", "/api/agents", {}, True),
        ("GET", "/api/runs/1/events", {}, True),
        ("POST", "/api/agents", {}, False),
        ("PATCH", "/api/agents/1", {}, False),
        ("POST", "/api/agents", {"Idempotency-Key": "1"}, False),  # only the chat calls honour it
        ("POST", CHAT, {}, False),
        ("POST", f"{CHAT}/stream", {}, False),
        ("POST", CHAT, {"Idempotency-Key": "1"}, True),
        ("POST", f"{CHAT}/stream", {"Idempotency-Key": "1"}, True),
    ],
)
async def test_a_lost_request_is_repeated_where_that_is_safe(
    method: str, path: str, headers: dict[str, str], repeated: bool
) -> None:
    losing, other = Replica(loses=True), Replica()
    async with (
        listening(losing) as first,
        listening(other) as second,
        edge(first, f"{second} backup") as front,
        client(front) as http,
    ):
        content = None if method == "GET" else b'{"message": "?"}'
        response = await http.request(method, path, headers=headers, content=content)
    assert len(losing.heads) == 1
    assert len(other.heads) == repeated
    if repeated:
        assert response.status_code == 200
    else:
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert response.json()["retryable"] is True


async def test_only_what_may_be_repeated_goes_over_kept_connections() -> None:
    replica = Replica()
    async with listening(replica) as there, edge(there) as front, client(front) as http:
        await http.get("/api/agents")
        await http.post(CHAT, content=b"{}")
        await http.delete("/api/agents/1")
    assert [head.get("connection") for head in replica.heads] == [None, "close", "close"]


async def test_a_replica_is_told_who_asks_and_not_what_he_says_of_himself() -> None:
    replica = Replica()
    async with listening(replica) as there, edge(there) as front, client(front) as http:
        lies = {"X-Forwarded-For": "10.1.1.1", "X-Real-IP": "10.1.1.1", "X-Forwarded-Proto": "x"}
        await http.get("/api/agents", headers={**lies, "X-Request-ID": "mine"})
        host = httpx2.URL(front.url).netloc.decode()
    [head] = replica.heads
    assert head["x-forwarded-for"] == head["x-real-ip"] == "127.0.0.1"
    assert head["x-forwarded-proto"] == "http"
    assert (head["x-request-id"], head["host"]) == ("mine", host)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of `localhost`, its own authority; the key is beside it."""
    made = tmp_path / "certificate"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(tmp_path / "key"), "-out", str(made)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return made


async def test_https_speaks_http_2_and_plain_http_leads_there(certificate: Path) -> None:
    async with listening(Replica()) as there, edge_folder() as front:
        front.replicas(there)
        text = front.read("tls").replace("/run/secrets/tls_certificate", str(certificate))
        front.write(
            "server", text.replace("/run/secrets/tls_key", str(certificate.with_name("key")))
        )
        await front.start()
        async with client(front) as http:
            assert (await http.get("/healthz")).status_code == 200
            led = await http.post(f"{CHAT}?a=b", content=b"{}", headers={"Host": "chat.test"})
            assert led.status_code == 308
            assert led.headers["location"] == f"https://chat.test{CHAT}?a=b"
        trusting = ssl.create_default_context(cafile=str(certificate))
        trusting.set_alpn_protocols(["h2", "http/1.1"])
        port = front.secure.getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting, server_hostname="localhost"
        )
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.transport.abort()  # what HTTP/2 says first is not waited for
        trusting.set_alpn_protocols(["http/1.1"])
        async with httpx2.AsyncClient(verify=trusting, trust_env=False) as secure:
            answer = await secure.get(f"https://localhost:{port}/api/agents")
        assert answer.status_code == 200
        assert "max-age" in answer.headers["strict-transport-security"]


async def test_the_configuration_is_without_a_warning() -> None:
    async with edge_folder() as front:
        front.replicas("127.0.0.1:8000 max_fails=2 fail_timeout=3s")
        status, said = await front.check()
    assert (status, "[warn]" in said) == (0, False), said
