"""Somebody who asks the page for every poisoned document, reads it, and opens its passages."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from playwright.async_api import Browser, Dialog, Page, Request, expect

from tests.soak.poison.documents import Poisoned

FOREIGN, DIALOGS, SCRIPTS = "requests to foreign origins", "dialogs", "scripts that ran"
LINKS, MARKUP, FORGED = "links that hide something", "elements of a document's", "forged events"
INVENTED, ANSWERED = "invented citations", "answers looked at"
NAVIGATED, ERRORS = "pages that were left", "errors in the page"
# What no renderer of ours makes; a document's own would be one of them.
ELEMENTS = (
    ":is(img, script, iframe, object, embed, form, style, link, meta, base, video, audio, math)"
)
ANSWER_SECONDS = 30.0
PAGES = 4


class Visitor:
    """Looks at one page after another and counts what must not be."""

    def __init__(self, browser: Browser, url: str, note: Callable[[str], None]) -> None:
        self._browser = browser
        self._url = url
        self._note = note
        self.counts: Counter[str] = Counter()
        self.seen: set[str] = set()

    async def visit(self, agent_id: int, documents: Sequence[Poisoned]) -> None:
        """Ask for each of them, on several pages at once: most of a look is waiting."""
        async with asyncio.TaskGroup() as group:
            for page in range(PAGES):
                group.create_task(self._look(agent_id, documents[page::PAGES]))

    async def _look(self, agent_id: int, documents: Sequence[Poisoned]) -> None:
        context = await self._browser.new_context(base_url=self._url)
        context.set_default_timeout(ANSWER_SECONDS * 1000)
        context.on("request", self._requested)
        page = await context.new_page()
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self._found(ERRORS, str(error)))
        await page.goto("/")
        for document in documents:
            await self._read(page, agent_id, document)
        await context.close()

    async def _read(self, page: Page, agent_id: int, document: Poisoned) -> None:
        await page.get_by_role("button", name="New conversation").click()
        await expect(page.locator(f'#agent option[value="{agent_id}"]')).to_have_count(1)
        await page.evaluate(f'document.getElementById("agent").value = "{agent_id}"')
        await page.get_by_label("Your question").fill(f"Is the {document.word} device ready?")
        await page.keyboard.press("Enter")
        await expect(page.locator(".meta, .notice.failed").first).to_be_visible()
        self.counts[ANSWERED] += 1
        if await page.locator(".notice.failed").count():
            self._found(FORGED, f"{document.kind}: {await page.locator('.notice').inner_text()}")
            return
        shown = await self._shown(page)
        if document.word in shown:
            self.seen.add(document.word)
        await self._examine(page, document)

    async def _shown(self, page: Page) -> str:
        """The answer and every passage that it cites, opened."""
        shown = [await page.locator(".prose").inner_text()]
        sources = page.get_by_role("region", name="Sources").get_by_role("button")
        for number in range(await sources.count()):
            await sources.nth(number).click()
            shown.append(await page.get_by_role("complementary").inner_text())
        return "\n".join(shown)

    async def _examine(self, page: Page, document: Poisoned) -> None:
        if urlsplit(page.url).netloc != urlsplit(self._url).netloc:
            self._found(NAVIGATED, f"{document.kind}: {page.url}")
            await page.goto(self._url)
        if await page.evaluate("window.harmed"):
            self._found(SCRIPTS, document.kind)
        places = page.locator(f".log {ELEMENTS}, .passage {ELEMENTS}, .log [style]")
        if await places.count():
            self._found(
                MARKUP, f"{document.kind}: {await places.first.evaluate('e => e.outerHTML')}"
            )
        for link in await page.locator(".log a, .passage a").all():
            address = urlsplit(await link.get_attribute("href") or "")
            plain = address.scheme in ("http", "https") and address.username is None
            closed = await link.get_attribute("rel") == "noopener noreferrer"
            if not (plain and closed and f"({address.netloc})" in await link.inner_text()):
                self._found(LINKS, f"{document.kind}: {await link.evaluate('e => e.outerHTML')}")
        sources = set(await page.locator(".source .chip").all_inner_texts())
        if not set(await page.locator(".prose .cite").all_inner_texts()) <= sources:
            self._found(INVENTED, document.kind)

    def _requested(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self._url).netloc:
            self._found(FOREIGN, request.url)

    async def _dialog(self, dialog: Dialog) -> None:
        self._found(DIALOGS, dialog.message)
        await dialog.dismiss()

    def _found(self, what: str, example: str) -> None:
        self.counts[what] += 1
        if self.counts[what] <= 3:
            self._note(f"{what}: {example[:160]}")
