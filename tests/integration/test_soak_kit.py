"""What the soak's scenarios are made with does what they take for granted."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.soak.provider import PacedProvider, words_of
from tests.soak.proxy import Proxy

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
