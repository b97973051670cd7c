"""CITESTREAM_CORS_ORIGINS: sites as browsers name them, or one sentence."""

import pytest

from app.settings import ConfigurationError, Settings


@pytest.mark.parametrize(
    ("text", "sites"),
    [
        ("https://app.example.com", ("https://app.example.com",)),
        (" https://A.example , http://b:3000,", ("https://a.example", "http://b:3000")),
        ("https://a.example:443,http://b:80", ("https://a.example", "http://b")),
        ("https://a.example,https://a.example", ("https://a.example",)),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
        ("*", ("*",)),
        ("", ()),
    ],
)
def test_sites_that_may_call(
    monkeypatch: pytest.MonkeyPatch, text: str, sites: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CITESTREAM_CORS_ORIGINS", text)
    assert Settings().cors_origins == sites


@pytest.mark.parametrize(
    "text",
    [
        *("app.example.com", "https://a.example/", "https://a.example/path", "null", "file://"),
        *("https://*.example.com", "https://user@a.example", "ftp://a.example", "https://a b"),
        *("https://a.example;https://b.example", "https://a.example:", "https://ä.example"),
    ],
)
def test_what_no_browser_would_send_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CITESTREAM_CORS_ORIGINS", text)
    with pytest.raises(ConfigurationError, match=r"^CITESTREAM_CORS_ORIGINS: it takes sites such"):
        Settings()
