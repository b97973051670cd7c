"""The chat page in a real Chromium, in front of the real service.

The browser reaches the service through a relay that can hold a stream after its first token: so
"tokens appear as they arrive" and "Stop" are seen without racing a server that answers in
milliseconds.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

QUESTION = "Which project reduced checkout time?"
STREAM = "**/chat/stream"
SOMETHING = re.compile(r"\S")


class Relay:
    """Passes bytes between the browser and the service, and can hold a stream."""

    def __init__(self, upstream: str) -> None:
        address = urlsplit(upstream)
        self._upstream = address.hostname, address.port
        self._released = asyncio.Event()
        self._released.set()
        self._connections: set[asyncio.Task[None]] = set()
        self.left = asyncio.Event()  # the browser closed a connection while a stream was held

    def hold(self) -> None:
        """Let the next stream's first token through, and nothing after it until `release`."""
        self._released.clear()
        self.left.clear()

    def release(self) -> None:
        self._released.set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service_reader, service_writer = await asyncio.open_connection(*self._upstream)
        pumps = [
            asyncio.create_task(self._up(reader, service_writer)),
            asyncio.create_task(self._down(service_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.close()
            service_writer.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        if not self._released.is_set():
            self.left.set()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held = b""
        while data := await reader.read(65536):
            if not self._released.is_set():
                held += data
                data = b""
                token = held.find(b'"type":"token"')
                if token >= 0 and (end := held.find(b"\n\n", token)) >= 0:
                    writer.write(held[: end + 2])
                    await self._released.wait()
                    data, held = held[end + 2 :], b""
                elif b"text/event-stream" not in held:
                    data, held = held, b""  # another answer than a stream
            writer.write(data)


@pytest_asyncio.fixture
async def relay(live_server: str) -> AsyncIterator[Relay]:
    relay = Relay(live_server)
    yield relay
    relay.release()
    await relay.stop()


@pytest.fixture
def addresses() -> list[str]:
    """Whatever the page requested."""
    return []


@pytest.fixture
def complaints() -> list[str]:
    """What the console showed as an error or warning, uncaught exceptions included."""
    return []


@pytest_asyncio.fixture
async def page(
    browser: Browser, relay: Relay, addresses: list[str], complaints: list[str]
) -> AsyncIterator[Page]:
    context = await browser.new_context(base_url=await relay.start())
    context.set_default_timeout(10_000)
    page = await context.new_page()
    page.on("request", lambda request: addresses.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda entry: complaints.append(entry.text) if entry.type in ("error", "warning") else None,
    )
    await page.goto("/")
    yield page
    await context.close()


async def ask(page: Page, question: str) -> None:
    await page.get_by_label("Your question").fill(question)
    await page.keyboard.press("Enter")


async def reply(page: Page, body: str, **response: Any) -> None:
    """Let the page have this answer to its next question instead of the service's."""

    async def fulfill(route: Route) -> None:
        await route.fulfill(**{"content_type": "text/event-stream", "body": body, **response})

    await page.route(STREAM, fulfill, times=1)


def stream(*events: dict[str, Any]) -> str:
    start = {"type": "start", "run_id": "r", "conversation_id": "c", "message_id": "m"}
    return "".join(f"data: {json.dumps(event)}\n\n" for event in (start, *events))


def done(**fields: Any) -> dict[str, Any]:
    rest = {"cached": False, "degraded": [], "language": "en", "finish_reason": "stop"}
    return {"type": "done", "citations": [], **rest, **fields}


async def test_an_answer_streams_and_its_citations_open_their_passages(
    page: Page, relay: Relay, addresses: list[str], complaints: list[str]
) -> None:
    relay.hold()
    await ask(page, QUESTION)

    prose = page.locator(".turn .prose")
    await expect(prose).to_have_text(SOMETHING)
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    await expect(page.get_by_role("button", name="Send")).to_be_hidden()
    beginning = (await prose.inner_text()).strip()
    relay.release()
    await expect(page.locator(".meta")).to_contain_text("complete")
    await expect(prose).to_contain_text("41 seconds")
    assert len(await prose.inner_text()) > len(beginning)

    agents = await (await page.request.get("/api/agents")).json()
    chat = f"/api/agents/{agents['items'][0]['id']}/chat"
    whole = await (await page.request.post(chat, data={"message": QUESTION})).json()
    cited = {str(citation["number"]): citation for citation in whole["citations"]}
    marker = prose.locator(".cite").first
    citation = cited[await marker.inner_text()]
    await marker.focus()
    await page.keyboard.press("Enter")
    passage = page.get_by_role("complementary")
    await expect(passage.get_by_role("heading")).to_have_text(citation["title"])
    assert await passage.locator("blockquote").text_content() == citation["quote"]
    assert await passage.locator("mark").count() >= 1
    await page.keyboard.press("Escape")
    await expect(passage).to_be_hidden()
    await expect(marker).to_be_focused()

    sources = page.get_by_role("region", name="Sources").get_by_role("button")
    assert await sources.count() == len(cited)
    await sources.first.click()
    await expect(passage).to_be_visible()

    origin = await page.evaluate("location.origin")
    assert [address for address in addresses if not address.startswith(f"{origin}/")] == []
    assert complaints == []


async def test_stop_keeps_what_there_is_and_a_new_conversation_starts_over(
    page: Page, relay: Relay, complaints: list[str]
) -> None:
    relay.hold()
    await ask(page, QUESTION)
    prose = page.locator(".turn .prose")
    await expect(prose).to_have_text(SOMETHING)
    beginning = (await prose.inner_text()).strip()
    await page.get_by_role("button", name="Stop").click()

    await expect(page.get_by_text("Stopped. This answer is not complete.")).to_be_visible()
    assert (await prose.inner_text()).strip() == beginning
    await asyncio.wait_for(relay.left.wait(), timeout=10)
    relay.release()

    async with page.expect_request(STREAM) as following:
        await ask(page, "What is Pebble?")
    assert json.loads((await following.value).post_data or "")["conversation_id"]
    await expect(page.locator(".turn:nth-child(2) .meta")).to_contain_text("complete")

    await page.get_by_role("button", name="New conversation").click()
    await expect(page.locator(".turn")).to_have_count(0)
    async with page.expect_request(STREAM) as first:
        await page.get_by_role("button", name="What React projects are there?").click()
    request = json.loads((await first.value).post_data or "")
    assert request == {"message": "What React projects are there?"}
    await expect(page.locator(".meta")).to_contain_text("complete")
    assert complaints == []


async def test_text_of_an_answer_or_document_never_becomes_markup(
    page: Page, complaints: list[str]
) -> None:
    markup = '<img src=x onerror="alert(1)"><script>alert(1)</script>'
    source = {"number": 1, "title": markup, "uri": "javascript:alert(1)", "chunk_id": 1, "score": 1}
    text = f"{markup} **bold** [1] [2] [bad](javascript:alert(1)) [good](https://example.com/) `c`"
    citation = {**source, "document_id": 1, "quote": markup, "start": 0, "end": len(markup)}
    await reply(
        page,
        stream(
            {"type": "sources", "sources": [source]},
            {"type": "token", "content": text},
            done(citations=[citation]),
        ),
    )
    await ask(page, markup)

    prose = page.locator(".prose")
    await expect(prose).to_have_text(
        f"{markup} bold 1 [2] [bad](javascript:alert(1)) good (example.com) c", use_inner_text=True
    )
    link = prose.get_by_role("link")
    assert await link.get_attribute("href") == "https://example.com/"
    assert await link.get_attribute("rel") == "noopener noreferrer"
    await prose.locator(".cite").click()
    passage = page.get_by_role("complementary")
    assert await passage.locator("blockquote").text_content() == markup
    assert await passage.get_by_role("link").count() == 0
    assert await page.locator("main img, main script, aside img").count() == 0
    assert complaints == []


TABLE = """The plans:
| Plan | Price [1] | Note |
|:-----|:---------:|-----:|
| **Small** | 9 € | a \\| b |
| Large | 90 € | <img src=x onerror="alert(1)"> | left out |
| Unsaid |

After it."""


async def test_a_table_is_one_and_scrolls_by_itself(page: Page, complaints: list[str]) -> None:
    source = {"number": 1, "title": "Prices", "uri": None, "chunk_id": 1, "score": 1}
    quoted = {**source, "document_id": 1, "quote": "9 €", "start": 0, "end": 3}
    tokens = [{"type": "token", "content": TABLE[at : at + 9]} for at in range(0, len(TABLE), 9)]
    sources = {"type": "sources", "sources": [source]}
    await reply(page, stream(sources, *tokens, done(citations=[quoted])))
    await page.set_viewport_size({"width": 390, "height": 844})
    await ask(page, "What does it cost?")
    await expect(page.locator(".meta")).to_contain_text("complete")

    prose = page.locator(".prose")
    assert await prose.locator("p").all_inner_texts() == ["The plans:", "After it."]
    table = prose.get_by_role("table")
    assert await table.get_by_role("columnheader").all_inner_texts() == ["Plan", "Price 1", "Note"]
    rows = table.locator("tbody tr")
    assert [await row.locator("td").all_inner_texts() for row in await rows.all()] == [
        ["Small", "9 €", "a | b"],
        ["Large", "90 €", '<img src=x onerror="alert(1)">'],
        ["Unsaid"],
    ]
    assert await table.locator("strong").inner_text() == "Small"
    sides = "row => [...row.cells].map(cell => getComputedStyle(cell).textAlign)"
    assert await rows.first.evaluate(sides) == ["start", "center", "end"]
    await table.locator(".cite").click()
    await expect(page.get_by_role("complementary").locator("blockquote")).to_have_text("9 €")
    assert complaints == []


async def test_what_is_wide_scrolls_within_the_page_and_what_is_hostile_stays_small(
    page: Page,
) -> None:
    words = "|".join("Donaudampfschifffahrtsgesellschaft" for _ in range(9))
    wide = f"{words}\n{'-|' * 9}\n{words}"
    hostile = "x|" * 1000 + "\n" + "-|" * 1000 + "\n|x" * 1000
    tokens = [{"type": "token", "content": f"{wide}\n\n{hostile}\n\n{'a|' * 500}\n-|-"}]
    await reply(page, stream(*tokens, done()))
    await page.set_viewport_size({"width": 390, "height": 844})
    await ask(page, "What is wide?")
    await expect(page.locator(".meta")).to_contain_text("complete")
    boxes = page.locator(".prose .table")
    assert await boxes.count() == 2
    assert await boxes.first.evaluate("box => box.scrollWidth > box.clientWidth")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await boxes.nth(1).locator("td").count() == 1000


LONG = " ".join(f"Sentence {number} of a passage." for number in range(200))
# Whether the whole of what a range or an element shows can be seen, and nothing lies over it.
SEEN = """(what) => {
    const passage = document.getElementById("passage");
    const seen = (x, y) => passage.contains(document.elementFromPoint(x, y));
    const sheet = passage.getBoundingClientRect();
    const { left, right, top, bottom } = what(sheet);
    return top >= sheet.top && bottom <= Math.min(sheet.bottom, innerHeight)
        && seen((left + right) / 2, top + 1) && seen((left + right) / 2, bottom - 1);
}"""


@pytest.mark.parametrize(("width", "height"), [(390, 844), (844, 390), (768, 1024), (1280, 800)])
async def test_a_passage_can_be_read_to_its_end_on_any_screen(
    page: Page, width: int, height: int, complaints: list[str]
) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    source = {"number": 1, "title": "A title", "uri": "file:///a", "chunk_id": 1, "score": 0.5}
    citation = {**source, "document_id": 1, "quote": LONG, "start": 0, "end": len(LONG)}
    events = {"type": "token", "content": "Cited. [1]"}, done(citations=[citation])
    await reply(page, stream({"type": "sources", "sources": [source]}, *events))
    await ask(page, QUESTION)
    await page.locator(".prose .cite").click()

    passage = page.get_by_role("complementary")
    await expect(passage).to_be_visible()
    await passage.evaluate(
        "(sheet) => Promise.all(sheet.getAnimations().map((each) => each.finished))"
    )
    assert await passage.evaluate(f"(sheet) => ({SEEN})((rect) => rect)")
    await passage.get_by_role("group").hover()
    await page.mouse.wheel(0, 100_000)
    end = """() => {
        const texts = document.createTreeWalker(
            document.getElementById("passage-body"), NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) ;
        const last = document.createRange();
        last.selectNodeContents(texts.currentNode);
        last.setStart(texts.currentNode, texts.currentNode.length - 1);
        return last.getBoundingClientRect();
    }"""
    await page.wait_for_function(f"() => ({SEEN})({end})")
    footer = "() => document.getElementById('passage-footer').getBoundingClientRect()"
    assert await page.evaluate(f"({SEEN})({footer})")

    # Whoever asks on meanwhile sees what they write.
    field = await page.get_by_label("Your question").bounding_box()
    assert field is not None
    at = [field["x"] + field["width"] / 2, field["y"] + field["height"] / 2]
    assert await page.evaluate("(at) => document.elementFromPoint(...at).id", at) == "message"
    await page.get_by_role("button", name="Close the passage").click()
    await expect(passage).to_be_hidden()
    assert complaints == []


async def test_an_agents_name_can_be_read_on_a_phone(page: Page) -> None:
    name = "The handbook for everyone"
    agents = [{"id": 1, "name": name}, {"id": 2, "name": "default"}]

    async def fulfill(route: Route) -> None:
        await route.fulfill(json={"items": agents, "next_cursor": None})

    await page.set_viewport_size({"width": 360, "height": 740})
    await page.route("**/api/agents", fulfill)
    await page.reload()
    choice = page.get_by_label("Agent")
    await expect(choice).to_be_visible()
    # As wide as a choice that is as wide as it wants to be.
    missing = """(choice) => {
        const free = choice.cloneNode(true);
        free.style = "position: absolute; width: max-content; max-width: none";
        choice.after(free);
        const wanted = free.offsetWidth;
        free.remove();
        return wanted - choice.offsetWidth;
    }"""
    assert await choice.evaluate(missing) <= 0
    assert await page.evaluate("document.documentElement.scrollWidth") == 360


async def test_a_failure_keeps_the_partial_answer_and_offers_to_retry(page: Page) -> None:
    failure = {"type": "error", "code": "x", "message": "It took too long.", "retryable": True}
    await reply(page, stream({"type": "token", "content": "The first half"}, failure))
    await ask(page, QUESTION)
    await expect(page.get_by_role("alert")).to_contain_text("It took too long.")
    await expect(page.locator(".prose")).to_have_text("The first half")

    problem = {"code": "unavailable", "detail": "Try again shortly."}
    await reply(page, json.dumps(problem), status=503, content_type="application/problem+json")
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_role("alert")).to_contain_text("Try again shortly.")

    await reply(page, stream({"type": "token", "content": "cut off"}))
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_role("alert")).to_contain_text("The connection ended")

    answer = stream({"type": "token", "content": "Whole."}, done(cached=True, degraded=["vector"]))
    await reply(page, answer)
    await page.get_by_role("button", name="Retry").click()
    await expect(page.locator(".turn")).to_have_count(1)
    await expect(page.locator(".prose")).to_have_text("Whole.")
    await expect(page.get_by_text("Cached")).to_be_visible()
    await expect(page.get_by_text("not available (vector)")).to_be_visible()


async def test_a_message_that_is_too_long_cannot_be_sent(page: Page) -> None:
    field, send = page.get_by_label("Your question"), page.get_by_role("button", name="Send")

    await expect(send).to_be_disabled()
    await field.fill("\N{GRINNING FACE}" * 8000)  # characters as the service counts them
    await expect(send).to_be_enabled()
    await field.fill("a" * 8001)
    await expect(send).to_be_disabled()
    await expect(page.get_by_text("8,001 of 8,000 characters")).to_be_visible()


async def test_the_policy_lets_nothing_in_from_elsewhere_or_inline(page: Page) -> None:
    policy = (await page.request.get("/")).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy

    refused = await page.evaluate(
        """() => new Promise((resolve) => {
            const seen = new Set();
            addEventListener("securitypolicyviolation", ({ effectiveDirective }) => {
                if (seen.add(effectiveDirective).size === 3) resolve([...seen].sort());
            });
            const style = document.createElement("style");
            style.append("body { display: none }");
            document.head.append(style);
            new Image().src = "https://example.invalid/x.png";
            fetch("https://example.invalid/").catch(() => {});
        })"""
    )
    assert refused == ["connect-src", "img-src", "style-src-elem"]


async def test_events_are_decoded_however_their_bytes_are_split(page: Page) -> None:
    text = (
        ": comment\r\n\r\nid: 1\r\ndata: añ🎉\r\n\r\n"
        'id: 2\ndata:{"a":1}\ndata: b\n\n:\n\ndata\n\nid: 3\rdata: x:y\r\rdata: unfinished'
    )
    expected = [
        {"id": "1", "data": "añ🎉"},
        {"id": "2", "data": '{"a":1}\nb'},
        {"id": "2", "data": ""},
        {"id": "3", "data": "x:y"},
    ]
    decoded = await page.evaluate(
        """async (text) => {
            const { EventDecoder } = await import("/app.js");
            const bytes = new TextEncoder().encode(text);
            const results = new Set();
            for (let first = 0; first <= bytes.length; first++)
                for (const step of [1, 2, 7, bytes.length]) {
                    const decoder = new EventDecoder();
                    const events = [...decoder.push(bytes.slice(0, first))];
                    for (let at = first; at < bytes.length; at += step)
                        events.push(...decoder.push(bytes.slice(at, at + step)));
                    results.add(JSON.stringify(events));
                }
            return [...results];
        }""",
        text,
    )
    assert [json.loads(result) for result in decoded] == [expected]
