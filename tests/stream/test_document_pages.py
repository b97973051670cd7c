"""Documents by their URL: what comes in, what is refused, and that nothing is half done."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.api import imports
from tests.support.hostile_urls import Canary, hostile
from tests.support.live import Live, live_service, unique
from tests.support.pages import PageServer, page
from tests.support.vendors import unused_url

HTML = b"<title>The team</title><script>x()</script><h1>Team</h1><p>Ana leads the front end.</p>"
LIST = [
    {"title": "Leave", "text": "Thirty days.", "uri": "hr/leave"},
    {"title": "Travel", "text": "By train.", "metadata": {"team": "hr"}},
]


@pytest.fixture(scope="module")
async def open_to_us(connections: dict[str, Any]) -> AsyncIterator[Live]:
    """A service that may fetch from 127.0.0.1, and under no other name."""
    ingest = {"max_document_bytes": 10_000, "max_request_bytes": 25_000}
    async with live_service(
        **connections, allow_private_hosts=" 127.0.0.1, ", ingest=ingest
    ) as service:
        yield service


@pytest.fixture
async def server() -> AsyncIterator[PageServer]:
    async with PageServer() as server:
        yield server


@pytest.fixture
async def portfolio(open_to_us: Live) -> int:
    return await open_to_us.portfolio(unique("pages"))


async def add(live: Live, portfolio: int, *items: Any, status: int = 200) -> Any:
    return await live.json(
        "POST",
        f"/api/portfolios/{portfolio}/documents?wait=true",
        status,
        json={"documents": items},
    )


async def shown(live: Live, added: Any) -> list[Any]:
    return [await live.json("GET", f"/api/documents/{each}") for each in added["ids"]]


async def kept(live: Live, portfolio: int) -> list[Any]:
    return list((await live.json("GET", f"/api/portfolios/{portfolio}/documents"))["items"])


async def test_a_page_becomes_a_document(
    open_to_us: Live, server: PageServer, portfolio: int
) -> None:
    server.pages["/team"] = page(HTML, "text/html; charset=utf-8")
    [document] = await shown(
        open_to_us, await add(open_to_us, portfolio, {"url": server.url("/team")})
    )
    assert document["title"] == "The team"
    assert document["uri"] == server.url("/team")
    assert document["text"] == "# Team\n\nAna leads the front end."
    assert document["status"] == "indexed"


async def test_it_is_replaced_when_it_has_changed(
    open_to_us: Live, server: PageServer, portfolio: int
) -> None:
    item = {"url": server.url("/team")}
    actions = []
    for text in (b"One.", b"One.", b"Two."):
        server.pages["/team"] = page(text)
        [added] = (await add(open_to_us, portfolio, item))["items"]
        actions.append(added["action"])
    assert actions == ["created", "unchanged", "replaced"]
    assert len(await kept(open_to_us, portfolio)) == 1


async def test_what_is_given_counts(open_to_us: Live, server: PageServer, portfolio: int) -> None:
    server.pages["/team"] = page(HTML, "text/html")
    item = {
        "url": server.url("/team"),
        "title": "Us",
        "uri": "team",
        "metadata": {"year": 2026},
    }
    [document] = await shown(open_to_us, await add(open_to_us, portfolio, item))
    assert (document["title"], document["uri"]) == ("Us", "team")
    assert document["metadata"] == {"year": 2026}


@pytest.mark.parametrize(
    ("path", "media_type", "content", "title"),
    [
        ("/guide/notes.md", "text/plain; charset=utf-8", b"# A guide\n\nText.", "A guide"),
        ("/guide", "text/markdown", b"# A guide\n\nText.", "A guide"),
        ("/guide", "text/markdown", b"Text.", "guide"),
        ("/a/b%20c.txt", "text/plain", b"# no heading", "b c"),
        ("/notes.md", "text/html", b"<p>Text.", "notes"),
        ("/release-1.2", "text/plain", b"Text.", "release-1.2"),
        ("/", "text/plain", b"Text.", "127.0.0.1"),
        ("/", "text/html", b"<title> </title>Text.", "127.0.0.1"),
    ],
)
async def test_titles(
    open_to_us: Live,
    server: PageServer,
    portfolio: int,
    path: str,
    media_type: str,
    content: bytes,
    title: str,
) -> None:
    server.pages[path] = page(content, media_type)
    [added] = (await add(open_to_us, portfolio, {"url": server.url(path)}))["items"]
    assert added["title"] == title


async def test_json_has_documents_of_its_own(
    open_to_us: Live, server: PageServer, portfolio: int
) -> None:
    server.pages["/all"] = page(json.dumps(LIST).encode(), "application/json")
    item = {"url": server.url("/all"), "metadata": {"from": "list"}}
    leave, travel = await shown(open_to_us, await add(open_to_us, portfolio, item))
    assert (leave["uri"], travel["uri"]) == ("hr/leave", f"{server.url('/all')}#1")
    assert (leave["metadata"], travel["metadata"]) == (
        {"from": "list"},
        {"team": "hr", "from": "list"},
    )
    refused = await add(open_to_us, portfolio, {**item, "title": "All"}, status=422)
    assert "documents[0]" in refused["detail"] and "title" in refused["detail"]


async def test_texts_and_pages_keep_their_order(
    open_to_us: Live, server: PageServer, portfolio: int
) -> None:
    for name in "abcdefgh":
        server.pages[f"/{name}"] = page(f"Page {name}.".encode())
    items: list[dict[str, Any]] = [{"url": server.url(f"/{name}")} for name in "abcdefgh"]
    items.insert(3, {"title": "Between", "text": "A text."})
    added = await add(open_to_us, portfolio, *items)
    titles = [each["title"] for each in added["items"]]
    assert titles == ["a", "b", "c", "Between", "d", "e", "f", "g", "h"]


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (page(b"x", status="404 Not Found"), 422, "page_refused"),
        (page(b"x", status="302 Found", Location="http://127.0.0.1/"), 422, "page_refused"),
        (page(b"x", status="500 Broken"), 502, "page_unavailable"),
        (page(b"%PDF-1.7", "application/pdf"), 415, "unsupported_media_type"),
        (page(b"%PDF-1.7", "text/plain"), 415, "unsupported_media_type"),
        (page(b"<script>x()</script>", "text/html"), 422, "empty_document"),
        (page(b"\xff\xfex", "text/plain"), 422, "invalid_encoding"),
        (page(b"{}", "application/json"), 422, "malformed_document"),
        (page(b"x" * 10_001), 413, "too_large"),
    ],
)
async def test_one_that_fails_fails_the_call(
    open_to_us: Live, server: PageServer, portfolio: int, answer: bytes, status: int, code: str
) -> None:
    server.pages |= {"/good": page(b"Text."), "/bad": answer}
    problem = await add(
        open_to_us,
        portfolio,
        {"title": "T", "text": "Text."},
        {"url": server.url("/good")},
        {"url": server.url("/bad")},
        status=status,
    )
    assert problem["code"] == code
    assert "documents[2]" in problem["detail"] or "Document 3" in problem["detail"]
    assert await kept(open_to_us, portfolio) == []


async def test_nobody_is_there(open_to_us: Live, portfolio: int) -> None:
    problem = await add(open_to_us, portfolio, {"url": unused_url()}, status=502)
    assert (problem["code"], problem["retryable"]) == ("page_unavailable", True)


async def test_pages_of_a_call_have_a_size_together(
    open_to_us: Live, server: PageServer, portfolio: int
) -> None:
    items = []
    for name in "abc":
        server.pages[f"/{name}"] = page(name.encode() * 9_000)
        items.append({"url": server.url(f"/{name}")})
    assert (await add(open_to_us, portfolio, *items, status=413))["code"] == "too_large"
    assert await kept(open_to_us, portfolio) == []


async def test_four_at_once_and_no_longer_than_a_while(
    open_to_us: Live, server: PageServer, portfolio: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "SECONDS", 2.0)
    items = [{"url": server.url(f"/slow/{number}")} for number in range(10)]
    problem = await add(open_to_us, portfolio, *items, status=502)
    assert problem["code"] == "page_unavailable"
    assert "documents[0]" in problem["detail"]
    assert server.most_waiting == 4
    async with asyncio.timeout(5):
        while server.waiting:  # noqa: ASYNC110 — what the event loop does by itself
            await asyncio.sleep(0.001)


async def test_a_portfolio_of_nobody_fetches_nothing(open_to_us: Live, server: PageServer) -> None:
    server.pages["/"] = page(b"Text.")
    await add(open_to_us, 2**40, {"url": server.url()}, status=404)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"url": 1}, "documents[0].url"),
        ({"url": None}, "documents[0].url"),
        ({"url": "https://x.example/", "text": "x"}, "documents[0].text"),
        ({"title": "T"}, "documents[0].text"),
        ({"text": "x"}, "documents[0].title"),
        ({}, "documents[0].title"),
        ("https://x.example/", "documents[0]"),
    ],
)
async def test_either_a_text_or_a_page(
    open_to_us: Live, portfolio: int, item: Any, field: str
) -> None:
    problem = await add(open_to_us, portfolio, item, status=422)
    assert field in [each["field"] for each in problem["errors"]]


async def test_no_page_from_inside(live: Live) -> None:
    portfolio = await live.portfolio(unique("inside"))
    async with Canary() as canary:
        for url in hostile(canary.port):
            problem = await add(live, portfolio, {"url": url}, status=422)
            assert problem["code"] in ("invalid_input", "address_refused"), url
        assert canary.connections == 0
    assert await kept(live, portfolio) == []


async def test_no_agent_asks_inside(live: Live) -> None:
    async with Canary() as canary:
        for number, url in enumerate(hostile(canary.port)):
            body = {"name": unique(f"inside-{number}"), "provider": "openai", "base_url": url}
            problem = await live.json("POST", "/api/agents", 422, json=body)
            assert problem["code"] in ("invalid_input", "address_refused"), url
        assert canary.connections == 0
