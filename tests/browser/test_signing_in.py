"""Signing in to the chat page, in a real Chromium, where the server needs a credential."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from app.api.revocation import Revocation
from app.chat.events import Token
from app.chat.model import Claim, Scope
from tests.api.sockets import serving
from tests.support.api_fakes import ANSWERED, START, FakeCredentials, World

SIGNED_OUT = "the server responded with a status of 401"


class Revocable:
    """Everybody has the rights of before, until they are taken from all."""

    taken = False

    async def __call__(self, claims: Sequence[Claim]) -> Sequence[Scope | None]:
        return [None if self.taken else await FakeCredentials().resolve(each) for each in claims]


@pytest.fixture
def rights() -> Revocable:
    return Revocable()


@pytest.fixture
def world(rights: Revocable) -> World:
    return World(anonymous_owner=False, revocation=Revocation(rights))


@pytest.fixture
def complaints() -> list[str]:
    """What the console showed as an error or warning, but for a 401 without a credential."""
    return []


@pytest_asyncio.fixture
async def page(browser: Browser, world: World, complaints: list[str]) -> AsyncIterator[Page]:
    async with serving(world.app()) as port:
        context = await browser.new_context(base_url=f"http://127.0.0.1:{port}")
        context.set_default_timeout(10_000)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda entry: (
                complaints.append(entry.text)
                if entry.type in ("error", "warning") and SIGNED_OUT not in entry.text
                else None
            ),
        )
        await page.goto("/")
        yield page
        await context.close()


async def sign_in(page: Page, key: str) -> None:
    """By keyboard alone: the field has the focus."""
    await expect(page.get_by_label("API key or token")).to_be_focused()
    await page.keyboard.type(key)
    await page.keyboard.press("Enter")


async def ask(page: Page, question: str = "What is React?") -> None:
    await page.get_by_label("Your question").fill(question)
    await page.keyboard.press("Enter")


async def test_signing_in_asking_reloading_and_signing_out(
    page: Page, complaints: list[str]
) -> None:
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.get_by_label("Your question")).to_be_hidden()
    await sign_in(page, "member")
    await expect(page.get_by_role("status")).to_have_text("Signed in as Mel.")
    await expect(page.get_by_label("Your question")).to_be_focused()
    await ask(page)
    await expect(page.locator(".prose")).to_contain_text("a library")

    await page.reload()
    await expect(page.get_by_text("Mel", exact=True)).to_be_visible()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_hidden()
    await ask(page)
    await expect(page.locator(".prose")).to_contain_text("a library")

    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.locator(".turn")).to_have_count(0)
    assert await page.context.cookies() == []
    await page.reload()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert complaints == []


async def test_a_wrong_key_says_so_and_can_be_corrected(page: Page) -> None:
    await sign_in(page, "wrong")
    await expect(page.get_by_role("alert")).to_contain_text("unknown, expired or revoked")
    field = page.get_by_label("API key or token")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await sign_in(page, "member")  # in its place: it is selected
    await expect(page.get_by_label("Your question")).to_be_visible()
    await expect(field).to_have_value("")


async def test_a_browser_that_keeps_no_session_says_what_to_do(page: Page) -> None:
    """As it does over http where the cookie is for https alone."""

    async def without_cookie(route: Route) -> None:
        if route.request.method == "POST":
            await route.fulfill(json={"subject": "key:1", "csrf_token": "x"})
        else:
            await route.continue_()

    await page.route("**/api/session", without_cookie)
    await sign_in(page, "member")
    await expect(page.get_by_role("alert")).to_contain_text("https address")
    await expect(page.get_by_label("Your question")).to_be_hidden()


async def test_no_script_can_read_what_signs_in(page: Page) -> None:
    await sign_in(page, "member")
    await expect(page.get_by_label("Your question")).to_be_visible()
    kept = await page.evaluate(
        "[document.cookie, JSON.stringify({...localStorage}), JSON.stringify({...sessionStorage})]"
    )
    assert kept == ["", "{}", "{}"]
    [cookie] = await page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"


async def test_a_session_revoked_while_an_answer_streams(
    page: Page, world: World, rights: Revocable
) -> None:
    world.engine.script = [START, Token("React is "), asyncio.Event()]
    await sign_in(page, "member")
    await ask(page)
    prose = page.locator(".prose")
    await expect(prose).to_contain_text("React is")
    rights.taken = True
    await world.revocation.look()
    await expect(page.get_by_role("alert")).to_contain_text("revoked or its rights have changed")
    await expect(page.get_by_label("Your question")).to_be_hidden()
    await expect(prose).to_contain_text("React is")  # what there was stays

    world.engine.script, rights.taken = ANSWERED, False
    await sign_in(page, "member")
    await page.get_by_role("button", name="Retry").click()
    await expect(prose).to_contain_text("React is a library")
    await expect(page.locator(".turn")).to_have_count(1)


async def retry_while_signing_in(page: Page, credential: str) -> None:
    """As who was signed in, and whose question found him signed out."""
    await sign_in(page, "member")
    await expect(page.get_by_label("Your question")).to_be_visible()
    await page.context.clear_cookies()
    await ask(page)
    retry = page.get_by_role("button", name="Retry")
    await expect(retry).to_be_visible()
    held, free = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        held.set()
        await free.wait()
        await route.continue_()

    await page.route("**/api/session", hold)
    await sign_in(page, credential)
    await held.wait()
    await retry.click()
    free.set()


async def test_what_is_asked_again_while_signing_in_is_answered_then(page: Page) -> None:
    await retry_while_signing_in(page, "member")
    await expect(page.locator(".prose")).to_contain_text("a library")
    await expect(page.locator(".turn")).to_have_count(1)


async def test_what_is_asked_again_while_somebody_else_signs_in_is_not_asked(
    page: Page, world: World
) -> None:
    await retry_while_signing_in(page, "admin")
    await expect(page.get_by_role("status")).to_have_text("Signed in as Ada.")
    await ask(page, "And Vue?")
    await expect(page.locator(".prose")).to_contain_text("a library")
    await expect(page.locator(".question")).to_have_text("And Vue?")
    assert len(world.engine.asked) == 1


async def test_what_is_asked_again_while_signing_in_fails_is_not_asked(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda each: asked.append(each.url) if "/chat/" in each.url else None)
    await retry_while_signing_in(page, "wrong")
    await expect(page.locator("#sign-in-trouble")).to_contain_text("expired or revoked")
    await sign_in(page, "member")
    await expect(page.get_by_label("Your question")).to_be_visible()
    await page.get_by_role("button", name="Retry").click()
    await expect(page.locator(".prose")).to_contain_text("a library")
    assert len(asked) == 2, "signed out, and signed in"


async def test_somebody_else_does_not_see_the_former_ones_conversation(page: Page) -> None:
    await sign_in(page, "member")
    await ask(page)
    await expect(page.locator(".prose")).to_contain_text("a library")
    await page.context.clear_cookies()
    await ask(page, "And Vue?")
    await sign_in(page, "admin")
    await expect(page.get_by_role("status")).to_have_text("Signed in as Ada.")
    await expect(page.locator(".turn")).to_have_count(0)


async def test_another_tab_of_the_same_person_breaks_nothing(page: Page) -> None:
    await sign_in(page, "member")
    await expect(page.get_by_label("Your question")).to_be_visible()
    assert (await page.request.post("/api/session", data={"credential": "member"})).ok
    await ask(page)
    await expect(page.locator(".prose")).to_contain_text("a library")


async def test_another_persons_tab_is_told_of(page: Page, world: World) -> None:
    await sign_in(page, "member")
    await ask(page)
    await expect(page.locator(".prose")).to_contain_text("a library")
    assert (await page.request.post("/api/session", data={"credential": "admin"})).ok
    await ask(page, "And Vue?")
    await expect(page.get_by_role("alert")).to_have_text("Ada has signed in in another tab.")
    await expect(page.locator(".turn")).to_have_count(0)
    await expect(page.locator("#who")).to_have_text("Ada")
    assert len(world.engine.asked) == 1
