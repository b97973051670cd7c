"""Which addresses are public, what a URL names, and what the operator's list opens."""

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bootstrap import Settings
from app.bootstrap.clients import open_guard
from app.errors import InvalidInput
from app.outgoing.addresses import is_public
from app.outgoing.errors import Blocked
from app.outgoing.guard import Guard
from app.outgoing.urls import PORTS, Target, normal_host, parse_url
from app.providers.wire import hostname
from app.settings import ConfigurationError
from tests.support.hostile_urls import NAMES, PUBLIC, URLS, hostile, hostile_names, resolver

PUBLIC_ADDRESSES = (
    *("1.1.1.1", "8.8.8.8", "93.184.215.14", "9.255.255.255", "11.0.0.0", "100.63.255.255"),
    *("100.128.0.0", "126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17"),
    *("169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255"),
    *("192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0"),
    *("198.51.99.255", "203.0.112.255", "203.0.114.0", "223.255.255.255"),
    *("2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450::1", "2001:200::1", "2003::1"),
    *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8"),
)


async def nobody(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host} is not to be resolved")


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_what_is_public_for_the_standard_library_is_no_less_public_for_it() -> None:
    """Nothing that Python knows to be special passes here."""
    for number in range(0, 2**32, 2**16 + 97):
        address = ipaddress.IPv4Address(number)
        assert address.is_global or not is_public(address), address
    for number in range(0, 2**128, 2**115 + 2**60 + 97):
        six = ipaddress.IPv6Address(number)
        assert six.is_global or not is_public(six), six


def test_there_are_enough_of_them() -> None:
    assert len(set(URLS)) == len(URLS) >= 150


@pytest.mark.parametrize("url", hostile(6379), ids=lambda url: ascii(url)[1:60])
def test_hostile_urls_are_refused_at_sight(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Guard(resolve=nobody).check_url(url)
    assert caught.value.code in ("invalid_input", "address_refused")


@pytest.mark.parametrize("url", hostile_names(6379))
async def test_names_that_lead_inside_are_refused_once_they_are_resolved(url: str) -> None:
    guard = Guard(resolve=resolver)
    target = guard.check_url(url)
    with pytest.raises(Blocked, match="ALLOW_PRIVATE_HOSTS") as caught:
        await guard.addresses(target.host, target.port)
    assert target.host in caught.value.message
    assert not any(
        address in caught.value.message.replace(target.host, "") for address in NAMES[target.host]
    )


@pytest.mark.parametrize(
    ("url", "expected", "named"),
    [
        ("http://example.com", Target(False, "example.com", 80, "/"), "example.com"),
        ("HTTPS://EXAMPLE.com.", Target(True, "example.com", 443, "/"), "example.com"),
        ("https://example.com:443/a", Target(True, "example.com", 443, "/a"), "example.com"),
        ("http://example.com:443/a", Target(False, "example.com", 443, "/a"), "example.com:443"),
        ("https://h_1.x/a/../b?c=d?e#f", Target(True, "h_1.x", 443, "/a/../b?c=d?e"), "h_1.x"),
        ("http://x?y", Target(False, "x", 80, "/?y"), "x"),
        ("http://x/@y:z", Target(False, "x", 80, "/@y:z"), "x"),
        ('https://x/é%20%C3|"<', Target(True, "x", 443, "/%C3%A9%20%C3%7C%22%3C"), "x"),
        ("https://bücher.example/", Target(True, "xn--bcher-kva.example", 443, "/"), None),
        ("https://８.８.８.８/", Target(True, "8.8.8.8", 443, "/"), "8.8.8.8"),
        ("https://8.8.8.8:8443/", Target(True, "8.8.8.8", 8443, "/"), "8.8.8.8:8443"),
        ("https://[2606:4700:4700:0::1111]/", Target(True, "2606:4700:4700::1111", 443, "/"), None),
        ("http://[2a00:1450::1]:8000/", Target(False, "2a00:1450::1", 8000, "/"), None),
        ("https://1e100.net/", Target(True, "1e100.net", 443, "/"), "1e100.net"),
        ("https://x.0xfg/", Target(True, "x.0xfg", 443, "/"), "x.0xfg"),
    ],
)
async def test_ordinary_urls(url: str, expected: Target, named: str | None) -> None:
    assert parse_url(url) == expected
    assert parse_url(url).path.isascii()
    if named is not None:
        assert parse_url(url).named == named
    assert Guard(resolve=nobody).check_url(url) == expected


def test_an_ipv6_address_is_named_with_brackets() -> None:
    assert parse_url("http://[2a00:1450::1]:8000/").named == "[2a00:1450::1]:8000"
    assert parse_url("http://[2A00:1450:0::1]/").named == "[2a00:1450::1]"


async def test_a_public_name_has_all_of_its_addresses() -> None:
    async def several(host: str, port: int) -> list[str]:
        assert (host, port) == ("example.com", 443)
        return [PUBLIC, "2606:4700:4700::1111"]

    guard = Guard(resolve=several)
    assert await guard.addresses("EXAMPLE.com.", 443) == [PUBLIC, "2606:4700:4700::1111"]


async def test_an_address_is_not_resolved() -> None:
    guard = Guard(["10.0.0.1"], nobody)
    assert await guard.addresses("8.8.8.8", 443) == ["8.8.8.8"]
    assert await guard.addresses("10.0.0.1", 443) == ["10.0.0.1"]


async def test_a_name_without_addresses_is_not_there() -> None:
    async def none(host: str, port: int) -> list[str]:
        return []

    for allow in ([], ["example.com"]):
        with pytest.raises(OSError, match=r"example\.com"):
            await Guard(allow, none).addresses("example.com", 80)


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("localhost", "http://LOCALHOST:11434/v1"),
        ("LocalHost.", "http://localhost/"),
        ("ollama.localhost", "http://ollama.localhost:11434/"),
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("::1", "http://[0:0::1]/"),
        ("[::1]", "http://[::1]/"),
        ("fd00:0::5", "http://[fd00::5]/"),
        ("bücher.example", "http://xn--bcher-kva.example/"),
        ("XN--BCHER-KVA.example", "http://bücher.example./"),
    ],
)
async def test_what_the_operator_names_is_open(allowed: str, url: str) -> None:
    async def inside(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    guard = Guard([allowed], inside)
    target = guard.check_url(url)
    assert guard.allows(target.host)
    assert await guard.addresses(target.host, target.port)
    with pytest.raises(Blocked):
        await Guard([], inside).addresses(target.host, target.port)


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("ollama", "ollama.example"),
        ("ollama", "x.ollama"),
        ("example.com", "sub.example.com"),
        ("sub.example.com", "example.com"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", "a-name-of-it.example"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("10.0.0.1", "127.0.0.1"),
    ],
)
async def test_and_nothing_beside_it(allowed: str, host: str) -> None:
    async def inside(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    guard = Guard([allowed], inside)
    assert not guard.allows(host)
    with pytest.raises(Blocked):
        await guard.addresses(host, 80)


@pytest.mark.parametrize(
    "entry", ["http://ollama", "ollama:11434", "*", "*.internal", "10.0.0.0/8", "a b", "127.1", ""]
)
def test_an_entry_that_is_no_host_is_not_accepted(entry: str) -> None:
    with pytest.raises(InvalidInput, match="without a port"):
        Guard([entry])


@pytest.mark.parametrize("host", ["::1", "[::1]", "0:0:0:0:0:0:0:1"])
def test_a_host_has_one_form(host: str) -> None:
    assert normal_host(host) == "::1"


PIECES = (
    *(
        "http://",
        "https://",
        "HTTP://",
        "ftp://",
        "//",
        "/",
        "\\",
        "@",
        ":",
        "?",
        "#",
        "[",
        "]",
        "%",
    ),
    *(
        "127.0.0.1",
        "8.8.8.8",
        "::1",
        "2606:4700::1",
        "localhost",
        "example.com",
        "①",
        "。",
        ".",
        "-",
    ),
    *(
        "80",
        "0",
        "65536",
        "user",
        "%40",
        "%2e",
        "é",
        "ß",
        "\t",
        " ",
        "\n",
        "\0",
        "\u200b",
        "\u2100",
    ),
)


@settings(max_examples=3000, derandomize=True, database=None, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=8), st.sampled_from(("", "http://", "https://")))
def test_who_reads_it_differently_reads_the_same(pieces: list[str], scheme: str) -> None:
    """What passes here names the same host and port to the standard library, from which requests
    to agents' addresses are made."""
    url = scheme + "".join(pieces)
    try:
        target = parse_url(url)
    except InvalidInput:
        return
    parts = urlsplit(url)
    assert normal_host(hostname(parts)) == target.host
    assert (parts.port or PORTS[parts.scheme]) == target.port
    assert parts.username is None and parts.password is None
    assert normal_host(target.host) == target.host


def test_the_setting_is_a_list_of_hosts() -> None:
    opened = open_guard(Settings(allow_private_hosts=" Ollama, 10.0.0.5 ,,[::1]"))
    assert all(opened.allows(host) for host in ("ollama", "10.0.0.5", "::1"))
    assert not open_guard(Settings()).allows("localhost")
    with pytest.raises(ConfigurationError, match=r"ALLOW_PRIVATE_HOSTS: 'ollama:11434'"):
        open_guard(Settings(allow_private_hosts="ollama:11434"))
