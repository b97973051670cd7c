"""What a real Chromium lets a page of another site do: ask with a key where the site is listed, and
nothing anywhere else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from app.main import create_app
from tests.api.sockets import serving
from tests.support.api_fakes import World

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<!doctype html>"
CALL = """async ([url, method, headers, body]) => {
    try {
        const answer = await fetch(url, {method, headers, body: body && JSON.stringify(body)});
        const id = answer.headers.get("X-Request-ID");
        return {status: answer.status, text: await answer.text(), id};
    } catch (error) {
        return {refused: error.name};
    }
}"""
KEY = {"Authorization": "Bearer member", "Content-Type": "application/json"}


@dataclass
class Sites:
    """The addresses of the service, of a site that it lists and of one that it does not."""

    service: str
    listed: str
    other: str


@asynccontextmanager
async def site() -> AsyncIterator[str]:
    """A site with one empty page."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(PAGE)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest_asyncio.fixture(scope="module")
async def sites() -> AsyncIterator[Sites]:
    async with AsyncExitStack() as stack:
        listed, other = [await stack.enter_async_context(site()) for _ in range(2)]
        world = World(anonymous_owner=False)
        app = create_app(world.services, origins=(listed,))
        port = await stack.enter_async_context(serving(app))
        yield Sites(f"http://127.0.0.1:{port}", listed, other)


@pytest_asyncio.fixture(scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    async with await browser.new_context() as context:
        yield await context.new_page()


async def call(page: Page, *request: Any) -> Any:
    return await page.evaluate(CALL, [*request, None, None][:4])


async def test_a_listed_site_asks_and_streams_with_a_key(page: Page, sites: Sites) -> None:
    await page.goto(sites.listed)
    agents = await call(page, f"{sites.service}/api/agents", "GET", KEY)
    assert agents["status"] == 200 and agents["id"]
    headers = {**KEY, "Idempotency-Key": "k1"}
    chat = f"{sites.service}/api/agents/1/chat/stream"
    streamed = await call(page, chat, "POST", headers, {"message": "hi"})
    assert streamed["status"] == 200 and '"type":"done"' in streamed["text"]
    error = await call(page, f"{sites.service}/api/agents/77", "GET", KEY)
    assert error["status"] == 404 and "not_found" in error["text"]


async def test_a_listed_site_without_a_key_is_nobody(page: Page, sites: Sites) -> None:
    await page.goto(sites.listed)
    assert (await call(page, f"{sites.service}/api/agents", "GET", {}))["status"] == 401


@pytest.mark.parametrize("headers", [KEY, {}])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_site_can_neither_ask_nor_read(
    page: Page, sites: Sites, method: str, headers: dict[str, str]
) -> None:
    await page.goto(sites.other)
    body = {"message": "hi"} if method == "POST" else None
    path = "/api/agents/1/chat" if method == "POST" else "/api/agents"
    answer = await call(page, f"{sites.service}{path}", method, headers, body)
    assert answer == {"refused": "TypeError"}
