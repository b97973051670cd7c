"""The encoder service is killed, or comes later than the service: answers go on by keywords, then
with a local encoder, then with the service's."""

import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.bootstrap import Settings
from app.embedded.home import lock
from app.embedded.shared_encoder import socket_of
from app.zero_setup import encoder_command
from tests.support.encoder import encoder_process
from tests.support.live import Live, live_service, unique
from tests.support.waiting import LONG_PAUSE_SECONDS, until

TEXT = "Atlas is a dashboard built with React. It was finished in 2021 by Ana Ruiz."
QUESTION = "Who finished the Atlas dashboard?"


pytestmark = pytest.mark.usefixtures("runtime_folder")


@contextmanager
def nobody_stands_in(settings: dict[str, Any]) -> Iterator[None]:
    """Somebody else has the turn to start a local encoder, and does not, until the block ends."""
    held = lock(socket_of(encoder_command(Settings(**settings))).with_suffix(".lock"))
    assert held is not None
    try:
        yield
    finally:
        os.close(held)


async def test_a_killed_encoder_degrades_answers_until_a_local_one_stands_in(
    connections: dict[str, Any], onnx: tuple[str, ...]
) -> None:
    async with (
        encoder_process("--port", "0", *onnx) as (process, url),
        live_service(**{**connections, "encoder": {"url": url}}) as live,
    ):
        portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
        agent = await live.agent(unique("agent"), portfolio, provider="extractive")
        with nobody_stands_in(connections):
            process.kill()
            await process.wait()
            asked = f"{QUESTION} {unique('a')}"
            degraded = await live.ask(agent, asked)
            assert degraded["degraded"] == ["encoder"]
            assert "Ana Ruiz" in degraded["answer"]
            assert not (await live.ask(agent, asked))["cached"]
            assert "degraded" in (await live.json("GET", "/readyz"))["dependencies"]["encoder"]
        await answered_with_vectors(live, agent)
        added = await live.add(portfolio, Harbor="Harbor plans the berths of ships.")
        document = await live.json("GET", f"/api/documents/{added[0]}")
        assert document["status"] == "indexed"


async def test_the_service_starts_first_and_the_encoder_afterwards(
    connections: dict[str, Any], live: Live, tmp_path: Path, onnx: tuple[str, ...]
) -> None:
    portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
    agent = await live.agent(unique("agent"), portfolio, provider="extractive")
    socket = tmp_path / "encoder.sock"
    settings = {**connections, "encoder": {"url": f"unix://{socket}"}}
    async with AsyncExitStack() as stack:
        with nobody_stands_in(connections):
            early = await stack.enter_async_context(live_service(**settings))
            degraded = await early.ask(agent, f"{QUESTION} {unique('a')}")
            assert degraded["degraded"] == ["encoder"]
            assert "Ana Ruiz" in degraded["answer"]
            ready = await early.json("GET", "/readyz")
            assert (ready["status"], ready["dependencies"]["postgres"]) == ("degraded", "ok")
            assert "degraded" in ready["dependencies"]["encoder"]
            body = {"name": unique("docs")}
            refused = await early.json("POST", "/api/portfolios", 503, json=body)
            assert refused["code"] == "encoder_unavailable"
        await answered_with_vectors(early, agent)  # by the local one, which stands in

        async def encoded_by_the_service() -> bool:
            await answered_with_vectors(early, agent)
            return await encoded_queries(socket)

        async with encoder_process("--uds", str(socket), *onnx):
            await until(encoded_by_the_service, seconds=60, pause=LONG_PAUSE_SECONDS)
            added = await early.portfolio(unique("docs"), Harbor="Harbor plans berths of ships.")
            assert (await early.json("GET", f"/api/portfolios/{added}"))["chunk_count"] == 1
        metrics = (await early.http.get("/metrics")).text
        assert 'citestream_query_vectors_total{origin="encoded"}' in metrics


async def answered_with_vectors(live: Live, agent: int) -> None:
    """Wait until the service says that it lacks nothing, and ask until an answer does not."""

    async def ready() -> bool:
        response = await live.http.get("/readyz")
        return bool(response.json()["status"] == "ok")

    async def whole() -> bool:
        return not (await live.ask(agent, f"{QUESTION} {unique('b')}"))["degraded"]

    for each in (ready, whole):
        await until(each, seconds=60, pause=LONG_PAUSE_SECONDS)


async def encoded_queries(socket: Path) -> bool:
    """Whether the encoder there has encoded a question, as it tells itself."""
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    async with httpx2.AsyncClient(transport=transport, base_url="http://encoder") as http:
        return 'encoder_batch_texts_count{kind="query"}' in (await http.get("/metrics")).text
