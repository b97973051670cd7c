"""What stands in for the encoder service, and what runs its model, may change under a portfolio."""

import asyncio
from pathlib import Path
from typing import Any

import psutil

from tests.support.encoder import encoder_process
from tests.support.live import Live, live_service, unique

TEXT = "Kestrel notifies hauliers when their lorries run behind schedule."
QUESTION = "Which piece of software tells shipping firms about delays?"


async def found(live: Live, portfolio: int) -> int:
    """How many passages the vectors find, asked until nothing is left out."""
    query: dict[str, Any] = {"portfolio_id": portfolio, "sources": ["vector"]}
    async with asyncio.timeout(60):
        while True:
            query["query"] = f"{QUESTION} {unique('a')}"  # no cache knows its vector
            answer = await live.json("POST", "/api/retrieve", json=query)
            if not answer["degraded"]:
                return len(answer["passages"])


async def test_a_portfolio_goes_on_with_another_backend_of_its_encoder(
    connections: dict[str, Any], onnx: tuple[str, ...]
) -> None:
    async with live_service(**connections) as live:
        portfolio = await live.portfolio(unique("docs"), Kestrel=TEXT)
    async with (
        encoder_process("--port", "0", *onnx) as (_, url),
        live_service(**{**connections, "encoder": {"url": url}}) as live,
    ):
        assert await found(live, portfolio) == 1


async def test_services_whose_encoder_is_away_share_a_local_one(
    connections: dict[str, Any], runtime_folder: Path, onnx: tuple[str, ...]
) -> None:
    async with encoder_process("--port", "0", *onnx) as (process, url):
        settings = {**connections, "encoder": {"url": url}}
        async with live_service(**settings) as live, live_service(**settings) as other:
            portfolio = await live.portfolio(unique("docs"), Kestrel=TEXT)
            process.kill()
            await process.wait()
            assert await found(live, portfolio) == await found(other, portfolio) == 1
            [local] = [each for each in psutil.Process().children() if _is_in(runtime_folder, each)]
    assert not local.is_running()


def _is_in(folder: Path, process: psutil.Process) -> bool:
    return any(argument.startswith(str(folder)) for argument in process.cmdline())
