"""The encoder service is killed: answers go on by keywords, then with a local encoder."""

import asyncio
from typing import Any

from tests.support.encoder import encoder_process
from tests.support.live import live_service, unique

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
        async with asyncio.timeout(60):
            while (await live.ask(agent, f"{QUESTION} {unique('b')}"))["degraded"]:
                pass
        added = await live.add(portfolio, Harbor="Harbor plans the berths of ships.")
        document = await live.json("GET", f"/api/documents/{added[0]}")
        assert document["status"] == "indexed"
