"""An issuer's keys, fetched from a real server: which ones count, and how often it is asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.identity.fetching import MAX_BYTES, Document, NotFetched
from app.identity.jwks import (
    KEEP_SECONDS,
    PAUSE_SECONDS,
    REFRESH_SECONDS,
    IssuerKeys,
    KeysUnavailable,
)
from tests.support.keys_site import Site, answer, serving
from tests.support.tokens import Issuer, key_set

FIRST, SECOND = Issuer(key_id="first"), Issuer(key_id="second")
PLENTY = 30.0


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving(Site(answer(key_set(FIRST.jwk())))) as running:
        yield running


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def document() -> AsyncIterator[Callable[..., Document]]:
    async with AsyncExitStack() as stack:

        def opened(url: str, **options: Any) -> Document:
            made = Document(url, **options)
            stack.push_async_callback(made.aclose)
            return made

        yield opened


@pytest.fixture
async def keys(
    site: Site, clock: Clock, document: Callable[..., Document]
) -> AsyncIterator[IssuerKeys]:
    made = IssuerKeys(document(site.url).fetch, "RS256", now=clock)
    yield made
    await made.aclose()


async def test_keys_are_fetched_once(site: Site, keys: IssuerKeys) -> None:
    found = [await keys.find(each) for each in ("first", "first", None)]
    assert all(
        each.public_numbers() == FIRST.private.public_key().public_numbers() for each in found
    )
    assert len(site.requests) == 1
    assert site.requests[0].startswith(b"GET /keys HTTP/1.1\r\n")
    assert b"accept-encoding: identity" in site.requests[0].lower()


async def test_a_new_key_is_found_when_its_first_token_comes(
    site: Site, keys: IssuerKeys, clock: Clock
) -> None:
    await keys.find("first")
    before = keys.version
    site.says = answer(key_set(FIRST.jwk(), SECOND.jwk()))
    clock.seconds += PAUSE_SECONDS
    assert await keys.find("second")
    assert await keys.find("first")
    assert await keys.find(None) is None, "there are two of them"
    assert keys.version != before
    assert len(site.requests) == 2


async def test_a_withdrawn_key_is_gone_with_the_next_fetch(site: Site, keys: IssuerKeys) -> None:
    await keys.find("first")
    before = keys.version
    site.says = answer(key_set(SECOND.jwk()))
    await keys.refresh()
    assert keys.version != before
    assert await keys.find("first") is None


async def test_the_same_keys_again_change_nothing(site: Site, keys: IssuerKeys) -> None:
    await keys.refresh()
    before = keys.version
    await keys.refresh()
    assert len(site.requests) == 2
    assert keys.version == before


async def test_a_storm_of_unknown_keys_is_one_fetch(
    site: Site, keys: IssuerKeys, clock: Clock
) -> None:
    await keys.find("first")
    clock.seconds += PAUSE_SECONDS
    found = await asyncio.gather(*(keys.find(f"unknown {number}") for number in range(500)))
    assert set(found) == {None}
    clock.seconds += PAUSE_SECONDS - 0.1
    assert await keys.find("another") is None
    assert len(site.requests) == 2
    clock.seconds += 0.1
    assert await keys.find("another") is None
    assert len(site.requests) == 3


async def test_who_leaves_does_not_end_the_fetch_of_the_others(
    site: Site, keys: IssuerKeys
) -> None:
    site.held = asyncio.Event()
    leaving = asyncio.create_task(keys.find("first"))
    await site.asked.wait()
    staying = asyncio.create_task(keys.find("first"))
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    site.held.set()
    assert await staying
    assert len(site.requests) == 1


async def test_while_the_issuer_is_away_its_keys_stay_for_a_day(
    site: Site, keys: IssuerKeys, clock: Clock
) -> None:
    await keys.find("first")
    before, site.says = keys.version, answer(b"", "503 Service Unavailable")
    clock.seconds += KEEP_SECONDS
    await keys.refresh()
    assert await keys.find("first")
    assert keys.version == before
    clock.seconds += 1
    assert keys.version != before, "what was checked with them is not known any more"
    with pytest.raises(KeysUnavailable):
        await keys.find("first")
    site.says = answer(key_set(FIRST.jwk()))
    clock.seconds += PAUSE_SECONDS
    assert await keys.find("first")


async def test_keys_that_were_never_reached_are_a_503(site: Site, keys: IssuerKeys) -> None:
    site.says = b""
    for _ in range(3):
        with pytest.raises(KeysUnavailable) as raised:
            await keys.find("first")
        assert (raised.value.status, raised.value.retry_after) == (503, PAUSE_SECONDS)
    assert len(site.requests) == 1


async def test_a_failure_is_logged_once_and_so_is_its_end(site: Site, keys: IssuerKeys) -> None:
    with capture_logs() as lines:
        site.says = answer(b"{}")
        await keys.refresh()
        await keys.refresh()
        site.says = answer(key_set(FIRST.jwk()))
        await keys.refresh()
        await keys.refresh()
    assert [each["log_level"] for each in lines] == ["warning", "info"]


async def test_a_set_without_a_key_of_the_algorithm_changes_nothing(
    site: Site, keys: IssuerKeys
) -> None:
    await keys.find("first")
    site.says = answer(key_set(Issuer("ES256").jwk(), FIRST.jwk(use="enc")))
    await keys.refresh()
    assert await keys.find("first")


async def test_they_are_kept_fresh_in_the_background(
    site: Site, document: Callable[..., Document]
) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        site.says = b"" if len(pauses) == 1 else answer(key_set(FIRST.jwk()))
        if len(pauses) == 3:
            raise asyncio.CancelledError

    keys = IssuerKeys(document(site.url).fetch, "RS256", pause=pause)
    with pytest.raises(asyncio.CancelledError):
        await keys.keep_fresh()
    assert pauses == [REFRESH_SECONDS, PAUSE_SECONDS, REFRESH_SECONDS]
    assert len(site.requests) == 3


async def refused(fetched: Document) -> str:
    with pytest.raises(NotFetched) as raised:
        async with asyncio.timeout(PLENTY):
            await fetched.fetch()
    return str(raised.value)


async def test_a_redirect_is_not_followed(site: Site, document: Callable[..., Document]) -> None:
    async with serving(Site(answer(key_set(SECOND.jwk())))) as elsewhere:
        for status in ("301 Moved Permanently", "302 Found", "307 Temporary Redirect"):
            site.says = answer(b"", status, f"Location: {elsewhere.url}")
            assert status[:3] in await refused(document(site.url))
    assert elsewhere.requests == []


async def test_a_body_of_any_size_is_read_to_its_limit(
    site: Site, document: Callable[..., Document]
) -> None:
    site.says = answer(b" " * MAX_BYTES)
    assert len(await document(site.url).fetch()) == MAX_BYTES
    site.says = answer(b" " * (MAX_BYTES + 1))
    assert "larger" in await refused(document(site.url))
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    site.says = endless + (b"10000\r\n" + b" " * 0x10000 + b"\r\n") * 100
    assert "larger" in await refused(document(site.url))


async def test_a_packed_body_is_not_unpacked(site: Site, document: Callable[..., Document]) -> None:
    site.says = answer(b"\x1f\x8b\x08\x00", "200 OK", "Content-Encoding: gzip")
    assert await document(site.url).fetch() == b"\x1f\x8b\x08\x00"


@pytest.mark.parametrize(
    "says",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
        answer(b"", "404 Not Found"),
        answer(b"", "500 Internal Server Error"),
        answer(b"", "204 No Content"),
    ],
    ids=["nothing", "no HTTP", "cut off", "a head without end", "404", "500", "204"],
)
async def test_no_plain_answer_is_no_document(
    site: Site, document: Callable[..., Document], says: bytes
) -> None:
    site.says = says
    assert await refused(document(site.url))


async def test_a_server_that_never_answers_is_given_up(
    site: Site, document: Callable[..., Document]
) -> None:
    site.held = asyncio.Event()
    said = await refused(document(site.url, deadline_seconds=0.05))
    assert said == "no answer within 0.05 s"
    site.held.set()


async def test_a_server_that_is_not_there_is_no_document(
    document: Callable[..., Document],
) -> None:
    async with serving(Site()) as gone:
        url = gone.url
    assert await refused(document(url)) == "ConnectError"


async def test_no_proxy_of_the_environment_is_used(
    site: Site, document: Callable[..., Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Site(answer(key_set(SECOND.jwk())))) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert await document(site.url).fetch() == key_set(FIRST.jwk())
    assert proxy.requests == []
