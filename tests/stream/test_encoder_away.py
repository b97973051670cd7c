"""The encoder service is killed, or comes later than the service: answers go on by keywords, then
with a local encoder, then with the service's."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2

from tests.support.encoder import encoder_process
from tests.support.live import Live, live_service, unique

TEXT = "Atlas is a dashboard built with React. It was finished in 2021 by Ana Ruiz."
QUESTION = "Who finished the Atlas dashboard?"


async def test_a_killed_encoder_degrades_answers_until_a_local_one_stands_in(
    connections: dict[str, Any],
) -> None:
    async with (
        encoder_process("--port", "0") as (process, url),
        live_service(**{**connections, "encoder": {"url": url}}) as live,
    ):
        portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
        agent = await live.agent(unique("agent"), portfolio, provider="extractive")
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
    connections: dict[str, Any], live: Live, tmp_path: Path
) -> None:
    portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
    agent = await live.agent(unique("agent"), portfolio, provider="extractive")
    socket = tmp_path / "encoder.sock"
    async with live_service(**{**connections, "encoder": {"url": f"unix://{socket}"}}) as early:
        degraded = await early.ask(agent, f"{QUESTION} {unique('a')}")
        assert degraded["degraded"] == ["encoder"]
        assert "Ana Ruiz" in degraded["answer"]
        ready = await early.json("GET", "/readyz")
        assert (ready["status"], ready["dependencies"]["postgres"]) == ("degraded", "ok")
        assert "degraded" in ready["dependencies"]["encoder"]
        refused = await early.json("POST", "/api/portfolios", 503, json={"name": unique("docs")})
        assert refused["code"] == "encoder_unavailable"
        await answered_with_vectors(early, agent)  # by the local one, which stands in
        assert (await early.json("GET", "/readyz"))["status"] == "ok"
        async with encoder_process("--uds", str(socket)):
            async with asyncio.timeout(60):
                while not await encoded_queries(socket):
                    await answered_with_vectors(early, agent)
            added = await early.portfolio(unique("docs"), Harbor="Harbor plans berths of ships.")
            assert (await early.json("GET", f"/api/portfolios/{added}"))["chunk_count"] == 1
        metrics = (await early.http.get("/metrics")).text
        assert 'citestream_query_vectors_total{origin="encoded"}' in metrics


async def answered_with_vectors(live: Live, agent: int) -> None:
    """Ask until an answer lacks nothing."""
    async with asyncio.timeout(60):
        while (await live.ask(agent, f"{QUESTION} {unique('b')}"))["degraded"]:
            pass


async def encoded_queries(socket: Path) -> bool:
    """Whether the encoder there has encoded a question, as it tells itself."""
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    async with httpx2.AsyncClient(transport=transport, base_url="http://encoder") as http:
        return 'encoder_batch_texts_count{kind="query"}' in (await http.get("/metrics")).text
