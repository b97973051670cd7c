"""What goes out to addresses that a tenant names, over real sockets: never inside, never after a
redirect, never to another address than the one that was looked at."""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from app.errors import AppError, InvalidInput, ProviderRejected, TooLarge, UnsupportedMediaType
from app.outgoing.errors import Blocked, PageRefused, PageUnavailable
from app.outgoing.fetch import Pages
from app.outgoing.guard import Guard
from app.outgoing.pool import Connection, Pool, Unreachable
from app.outgoing.tls import system_tls
from app.outgoing.urls import Target
from app.providers.faults import Vendor
from app.providers.wire import Api, Refused
from tests.support.hostile_urls import BESIDE, PUBLIC, Canary, hostile, hostile_names, resolver
from tests.support.pages import PageServer, page
from tests.support.vendors import Script, VendorServer, unused_url

CERTIFICATE = Path(__file__).parent.parent / "support" / "localhost.pem"
VENDOR = Vendor("The model", "THE_KEY", "THE_URL", "THE_MODEL")
MAX_BYTES = 1000

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


def leading_to(*addresses: str) -> Resolver:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


def pages(guard: Guard, tls: Callable[[], ssl.SSLContext] = system_tls) -> Pages:
    return Pages(guard, MAX_BYTES, tls)


def vendor_at(url: str, guard: Guard) -> Api:
    return Api(url, "sk-secret", VENDOR, accept="*/*", connect_seconds=1, addresses=guard.addresses)


async def test_the_canary_sings() -> None:
    """It is reached where the operator allows it, so that it would be where he does not."""
    async with Canary() as canary:
        guard = Guard(["127.0.0.1", BESIDE, "inside.example"], leading_to("127.0.0.1"))
        for host in ("127.0.0.1", BESIDE, "inside.example"):
            named = Target(False, host, canary.port, "/").named
            found = await pages(guard).fetch(f"http://{named}/")
            assert found.content == b"secret"
        assert canary.connections == 3


async def test_no_page_is_fetched_from_inside() -> None:
    async with Canary() as canary:
        fetching = pages(Guard(resolve=resolver))
        for url in (*hostile(canary.port), *hostile_names(canary.port)):
            with pytest.raises(InvalidInput) as caught:
                await fetching.fetch(url)
            assert caught.value.code in ("invalid_input", "address_refused"), url
        assert canary.connections == 0


async def test_no_agent_asks_inside() -> None:
    """Past the check of what an agent is given, read less strictly and with every name leading to
    the canary: the guard stands before the connection itself."""
    async with Canary() as canary:
        guard = Guard(resolve=leading_to("127.0.0.1"))
        for url in (*hostile(canary.port), *hostile_names(canary.port)):
            try:
                api = vendor_at(url, guard)
            except ValueError:
                continue  # no address to begin with
            with pytest.raises(AppError) as caught:
                await api.post({"messages": []})
            assert caught.value.code in ("provider_rejected", "provider_unavailable"), url
            assert "sk-secret" not in caught.value.message
            await api.aclose()
        assert canary.connections == 0


async def test_an_agent_is_told_who_can_allow_it() -> None:
    api = vendor_at("http://llm.example/v1", Guard(resolve=leading_to(PUBLIC, "10.1.2.3")))
    with pytest.raises(ProviderRejected, match=r"llm\.example.*ALLOW_PRIVATE_HOSTS") as caught:
        await api.post({})
    assert "10.1.2.3" not in caught.value.message
    assert not caught.value.retryable
    await api.aclose()


class Rebinding:
    """A name that leads to one address when it is resolved first, and inside ever after."""

    def __init__(self, first: str) -> None:
        self.asked = 0
        self._first = first

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return [self._first] if self.asked == 1 else ["127.0.0.1"]


class Recording(Pool):
    """Connects to nothing, and says to what it would have."""

    tried: list[str]

    async def _connect_to(self, address: str) -> Connection:
        self.tried.append(address)
        raise OSError


async def test_a_name_is_resolved_once_and_that_address_connected_to() -> None:
    """The name leads to a public address, and a moment later to 127.0.0.1. Were it resolved again,
    to be connected to, the canary would see it."""
    rebinding = Rebinding(PUBLIC)
    async with Canary() as canary:
        pool = Recording(
            "rebinding.example",
            canary.port,
            connect_seconds=1,
            addresses=Guard(resolve=rebinding).addresses,
        )
        pool.tried = []
        with pytest.raises(Unreachable):
            await pool.send(b"GET / HTTP/1.1\r\n\r\n")
        assert (rebinding.asked, pool.tried) == (1, [PUBLIC])
        with pytest.raises(Blocked):
            await pool.send(b"GET / HTTP/1.1\r\n\r\n")
        assert (rebinding.asked, pool.tried) == (2, [PUBLIC])
        assert canary.connections == 0


async def test_what_was_allowed_is_connected_to_by_the_first_answer() -> None:
    """With real connections: the first answer is the server's address, all later ones are a
    canary's at the same port."""
    async with PageServer() as server:
        server.pages["/"] = page(b"first")
        rebinding = Rebinding("127.0.0.1")
        fetching = pages(Guard(["rebinding.example"], rebinding))
        found = await fetching.fetch(server.url(host="rebinding.example"))
        assert (found.content, rebinding.asked) == (b"first", 1)
        assert f"Host: rebinding.example:{server.port}\r\n" in server.requests[0]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308, 399])
async def test_no_redirect_is_followed(status: int) -> None:
    async with PageServer() as server, Canary() as canary:
        inside = f"http://localhost:{canary.port}/"
        server.pages["/"] = page(
            inside.encode(),
            "text/html",
            f"{status} Elsewhere",
            Location=inside,
            Refresh=f"0; url={inside}",
            Content_Location=inside,
        )
        with pytest.raises(PageRefused, match=str(status)) as caught:
            await pages(Guard(["127.0.0.1"])).fetch(server.url())
        assert "localhost" not in caught.value.message
        assert (len(server.requests), canary.connections) == (1, 0)


async def test_an_agent_follows_none_either() -> None:
    async with VendorServer() as vendor, Canary() as canary:
        vendor.script = Script(status=307, location=f"http://localhost:{canary.port}/")
        api = vendor_at(vendor.openai_url, Guard(["127.0.0.1"]))
        with pytest.raises(Refused, match="307"):
            await api.post({})
        await api.aclose()
        assert (len(vendor.requests), canary.connections) == (1, 0)


async def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with PageServer() as server, Canary() as canary:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for variable in (name, name.lower()):
                monkeypatch.setenv(variable, f"http://127.0.0.1:{canary.port}")
        server.pages["/"] = page(b"text")
        assert (await pages(Guard(["127.0.0.1"])).fetch(server.url())).content == b"text"
        assert canary.connections == 0


async def test_nothing_is_sent_but_what_a_page_needs() -> None:
    async with PageServer() as server:
        server.pages["/a%20b/?q=%C3%A9"] = page(b"text", "Text/Plain; charset=UTF-8")
        found = await pages(Guard(["127.0.0.1"])).fetch(server.url("/a%20b/?q=é#part"))
        assert (found.media_type, found.content) == ("text/plain", b"text")
        assert server.requests == [
            "GET /a%20b/?q=%C3%A9 HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{server.port}\r\n"
            "Accept: text/html, text/markdown, text/plain, application/json\r\n"
            "Accept-Encoding: identity\r\n"
            "User-Agent: citestream\r\n"
            "Connection: close\r\n\r\n"
        ]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (page(b"x", status="404 Not Found"), PageRefused, "404"),
        (page(b"x", status="401 No"), PageRefused, "401"),
        (page(b"", status="204 Nothing"), PageRefused, "204"),
        (page(b"x", status="206 Part"), PageRefused, "206"),
        (page(b"x", status="429 Slow"), PageUnavailable, "429"),
        (page(b"x", status="503 Later"), PageUnavailable, "503"),
        (page(b"x", "application/pdf"), UnsupportedMediaType, "application/pdf"),
        (page(b"x", ""), UnsupportedMediaType, "no type"),
        (page(b"x", Content_Encoding="gzip"), PageRefused, "compressed"),
        (page(b"x" * (MAX_BYTES + 1)), TooLarge, "1,000 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1001\r\n\r\nx",
            TooLarge,
            "1,000 bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"x" * (MAX_BYTES + 1),
            TooLarge,
            "1,000 bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nx",
            PageUnavailable,
            "whole",
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, PageUnavailable, "whole"),
        (b"220 smtp.example ESMTP\r\n", PageUnavailable, "whole"),
        (b"", PageUnavailable, "whole"),
    ],
)
async def test_what_is_no_page(answer: bytes, error: type[AppError], says: str) -> None:
    async with PageServer() as server:
        server.pages["/"] = answer
        with pytest.raises(error, match=says):
            await pages(Guard(["127.0.0.1"])).fetch(server.url())


@pytest.mark.parametrize(
    ("media_type", "content", "expected"),
    [
        ("text/html", "é".encode(), "é".encode()),
        ("text/html; charset=utf-8", "é".encode(), "é".encode()),
        ("text/plain; charset=ISO-8859-1", b"\xe9\x80", "é€".encode()),
        ('text/plain; format=flowed; charset="windows-1252"', b"\x93", "“".encode()),
        ("text/plain; charset=iso-8859-15", b"\xa4", "€".encode()),
        ("text/plain; charset=utf-7", b"+AD4-", b"+AD4-"),
        ("text/plain; charset", b"\xe9", b"\xe9"),
    ],
)
async def test_text_in_the_common_encodings(
    media_type: str, content: bytes, expected: bytes
) -> None:
    async with PageServer() as server:
        server.pages["/"] = page(content, media_type)
        assert (await pages(Guard(["127.0.0.1"])).fetch(server.url())).content == expected


async def test_a_body_as_long_as_it_may_be() -> None:
    async with PageServer() as server:
        server.pages["/"] = page(b"x" * MAX_BYTES)
        assert len((await pages(Guard(["127.0.0.1"])).fetch(server.url())).content) == MAX_BYTES


async def test_nobody_is_there() -> None:
    with pytest.raises(PageUnavailable, match=r"127\.0\.0\.1") as caught:
        await pages(Guard(["127.0.0.1"])).fetch(unused_url())
    assert caught.value.retryable


async def test_a_name_that_nobody_has() -> None:
    with pytest.raises(PageRefused, match=r"no host nobody\.invalid"):
        await pages(Guard()).fetch("https://nobody.invalid/")


class TestTls:
    """The checked address is connected to, and the name is what must be in the certificate."""

    @staticmethod
    def serving() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        return context

    @staticmethod
    def trusting() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=CERTIFICATE)
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def test_the_name_is_verified(self) -> None:
        guard = Guard(["localhost", "other.example"], leading_to("127.0.0.1"))
        async with PageServer(self.serving()) as server:
            server.pages["/"] = page(b"text")
            fetching = pages(guard, self.trusting)
            found = await fetching.fetch(server.url(host="localhost"))
            assert found.content == b"text"
            with pytest.raises(PageRefused, match="certificate"):
                await fetching.fetch(server.url(host="other.example"))
            assert len(server.requests) == 1

    async def test_a_certificate_of_nobody_known(self) -> None:
        async with PageServer(self.serving()) as server:
            with pytest.raises(PageRefused, match="certificate"):
                await pages(Guard(["localhost"])).fetch(server.url(host="localhost"))
            assert server.requests == []


async def test_a_retired_pool_keeps_nothing() -> None:
    async with VendorServer() as vendor:
        api = vendor_at(vendor.openai_url, Guard(["127.0.0.1"]))
        for connections in (1, 1):
            exchange = await api.post({})
            while await exchange.read():
                pass
            exchange.close()
            assert vendor.connections == connections
        last = await api.post({})
        api.retire()
        while await last.read():
            pass
        last.close()
        assert api.statistics()["in_use"] == 0
        exchange = await api.post({})
        assert vendor.connections == 2
        exchange.close()
        await api.aclose()
