"""What the soak's scenarios are made with does what they take for granted."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.soak.asking import ask, follow, rss_mb, statistics_of, stream
from tests.soak.deployment import deployment
from tests.soak.provider import PacedProvider, words_of
from tests.soak.proxy import Proxy
from tests.soak.row import Stage

BODY = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], "stream": True}


@pytest.fixture
async def provider() -> AsyncIterator[PacedProvider]:
    async with PacedProvider() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        yield client


async def test_a_call_is_answered_and_noted(
    provider: PacedProvider, http: httpx2.AsyncClient
) -> None:
    url = f"{provider.url}/chat/completions"
    answer = (await http.post(url, json=BODY)).text
    assert [each in answer for each in words_of(BODY)] == [True] * 20
    assert answer.endswith("data: [DONE]\n\n")
    provider.token_seconds = 60.0
    async with http.stream("POST", url, json=BODY):
        await provider.arrived(2)
        assert provider.open == 1
    first, second = provider.calls
    await asyncio.wait_for(second.closed.wait(), 10)
    assert (first.question, first.finished, first.sent) == ("Why?", True, 20)
    assert (second.finished, second.sent, provider.open) == (False, 1, 0)
    assert second.closed_at is not None


@pytest.mark.parametrize("cut", [0, 1, 50, 500])
async def test_a_cut_comes_at_the_byte(
    provider: PacedProvider, http: httpx2.AsyncClient, cut: int
) -> None:
    provider.cut_after_bytes = cut
    heard = b""
    with pytest.raises(httpx2.HTTPError):
        async with http.stream("POST", f"{provider.url}/chat/completions", json=BODY) as answer:
            async for piece in answer.aiter_raw():
                heard += piece
    assert len(heard) == cut
    assert not provider.calls[0].finished


async def test_the_proxy_passes_delays_holds_and_cuts(
    provider: PacedProvider, http: httpx2.AsyncClient
) -> None:
    async with Proxy(int(provider.url.split(":")[2].removesuffix("/v1"))) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/v1/chat/completions"
        assert (await http.post(url, json=BODY)).text.endswith("[DONE]\n\n")
        proxy.delay_seconds, began = 0.05, time.monotonic()
        assert (await http.post(url, json=BODY)).is_success
        assert time.monotonic() - began >= 0.1
        proxy.delay_seconds, proxy.stalled = 0.0, True
        waiting = asyncio.create_task(http.post(url, json=BODY))
        assert not (await asyncio.wait({waiting}, timeout=0.1))[0]
        assert len(provider.calls) == 2
        proxy.stalled = False
        assert (await waiting).is_success
        assert proxy.reset() == 1
        proxy.refusing = True
        with pytest.raises(httpx2.HTTPError):
            await http.post(url, json=BODY)


async def test_a_deployment_answers_whatever_was_done_to_it(server_folder: Path) -> None:
    folder = server_folder / "kit"
    folder.mkdir()
    folder.chmod(0o711)
    stage = Stage(1.0, folder, random.Random(0), lambda _: None)
    async with deployment(stage, CITESTREAM_CACHE__LOCAL_MB="0") as running:
        url, http = running.urls[0], running.http
        portfolio = await running.portfolio(Atlas="Atlas was finished in 2021 by Ana Ruiz.")
        agent = await running.agent(portfolio)
        first = await stream(http, url, agent, "Who finished Atlas?")
        assert (first.status, first.ended, first.last_id) == (200, "done", len(first.events))
        assert first.text == "".join(words_of({"messages": [{"content": "Who finished Atlas?"}]}))
        assert first.events[1]["sources"][0]["title"] == "Atlas"
        assert first.run_id is not None
        rest = await follow(http, url, first.run_id, after=3)
        assert first.raw.endswith(rest.raw)
        assert (await ask(http, url, agent, "Who finished Atlas?")).json()["cached"]
        running.kill_redis()
        assert not (await ask(http, url, agent, "Who finished Atlas?")).json()["cached"]
        await running.start_redis()
        running.kill_postgres()
        await running.start_postgres()
        assert (await running.behind("SELECT count(*) FROM messages"))[0][0] >= 6
        await running.start_replica()
        await running.kill_replica(0)
        assert (await stream(http, running.urls[1], agent, "And when?")).ended == "done"
        assert rss_mb(running.replicas[1].process.pid) > 10
        assert await statistics_of(http, running.urls[1])
