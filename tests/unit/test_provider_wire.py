"""What goes out to a vendor, byte by byte, and what is taken for an answer."""

from urllib.parse import urlsplit

import pytest

from app.errors import ProviderRejected
from app.providers.configs import OpenAIConfig
from app.providers.faults import Vendor
from app.providers.openai import OpenAIProvider
from app.providers.relay import Deadlines
from app.providers.wire import Api, encoded, head, is_stream, under
from tests.support.vendors import Script, VendorServer, unused_url

VENDOR = Vendor("The model", "THE_KEY", "THE_URL", "THE_MODEL")


def test_the_whole_head() -> None:
    made = head(urlsplit("https://llm.example/v1/chat/completions"), "sk-1", "text/event-stream")
    assert made is not None
    assert made % (7, b"\r\ntraceparent: 00-1-2-01") == (
        b"POST /v1/chat/completions HTTP/1.1\r\n"
        b"Host: llm.example\r\n"
        b"Authorization: Bearer sk-1\r\n"
        b"Accept: text/event-stream\r\n"
        b"Accept-Encoding: identity\r\n"
        b"User-Agent: citestream\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: 7\r\n"
        b"traceparent: 00-1-2-01\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:11434/v1", "Host: 127.0.0.1:11434\r\n"),
        ("http://[::1]:8000/v1", "Host: [::1]:8000\r\n"),
        ("https://LLM.example/a b/%7Eé?api-version=1", "POST /a%20b/%7E%C3%A9?api-version=1 "),
        ("https://bücher.example/", "Host: xn--bcher-kva.example\r\n"),
        ("https://me:p%40ss@llm.example/", "Authorization: Basic bWU6cEBzcw==\r\n"),
    ],
)
def test_addresses(url: str, says: str) -> None:
    made = head(urlsplit(url), "sk-1", "*/*")
    assert made is not None
    assert says in (made % (0, b"")).decode()


@pytest.mark.parametrize("key", ["sk-1\r\nX-Evil: 1", "sk-1\n", "clé", "\x7f"])
async def test_a_key_that_cannot_be_sent_is_not(key: str) -> None:
    async with VendorServer() as server:
        api = Api(server.openai_url, key, VENDOR, accept="*/*", connect_seconds=1)
        with pytest.raises(ProviderRejected, match="THE_KEY") as caught:
            await api.post({})
        assert key not in caught.value.message
        assert server.connections == 0
        await api.aclose()


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("http://h/v1", "http://h/v1/chat"),
        ("http://h/v1/", "http://h/v1/chat"),
        ("http://h", "http://h/chat"),
        ("http://h/v1?version=2", "http://h/v1/chat?version=2"),
    ],
)
def test_a_call_stands_beneath_its_api(base: str, expected: str) -> None:
    assert under(base, "/chat") == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"content-type": "text/event-stream; charset=utf-8"}, True),
        ({}, True),
        ({"content-type": "text/plain"}, True),
        ({"content-type": "Text/HTML; charset=utf-8"}, False),
        ({"content-type": "application/json"}, False),
        ({"content-type": "text/event-stream", "content-encoding": "identity"}, True),
        ({"content-type": "text/event-stream", "content-encoding": "gzip"}, False),
    ],
)
def test_what_is_a_stream(headers: dict[str, str], expected: bool) -> None:
    assert is_stream(headers) is expected


def test_half_a_character_is_escaped() -> None:
    assert encoded({"content": "sí \ud83d"}) == b'{"content": "s\\u00ed \\ud83d"}'


async def test_a_refusal_leaves_its_connection_for_the_next() -> None:
    async with VendorServer() as server:
        server.script = Script(status=400)
        api = Api(server.openai_url, "k", VENDOR, accept="*/*", connect_seconds=1)
        for _ in range(3):
            with pytest.raises(Exception, match="400"):
                await api.post({})
        assert server.connections == 1
        assert api.statistics()["in_use"] == 0
        await api.aclose()


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, unused_url())
    async with VendorServer() as server:
        provider = OpenAIProvider(OpenAIConfig("k", "m", server.openai_url), Deadlines())
        exchange = await provider._api.post({"model": "m"})
        exchange.close()
        await provider.aclose()
