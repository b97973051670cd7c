"""Addresses that lead inside, or that two parsers read differently; and a server that must never be
reached.

`{port}` is where the canary listens. URLS need no resolver to be refused. NAMES are ordinary names
whose addresses the one in charge of them has chosen: `resolver` answers with those.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nsecret"
PUBLIC = "93.184.215.14"  # what an attacker's name may lead to as well; nothing connects to it

LOOPBACK = (
    "127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.255", "127.0.0.1.", "localhost",
    "LOCALHOST", "LocalHost.", "localhost.", "foo.localhost", "a.b.LOCALHOST", "0.0.0.0", "0.1.2.3",
)  # fmt: skip
NUMBERS = (
    "2130706433", "017700000001", "0x7f000001", "0x7F000001", "0x7f.1", "0x7f.0.0.1", "127.1",
    "127.0.1", "0177.1", "0177.0.0.1", "0177.0.0.01", "127.0.0.01", "127.000.000.001", "00.00.0.0",
    "0x7f.0x0.0x0.0x1", "0300.0250.0.1", "0xc0a80001", "3232235521", "0xa9fea9fe", "2852039166",
    "0251.0376.0251.0376", "169.254.43518", "10.1", "0", "0x0", "0x", "1", "256.256.256.256",
    "127.0.0.256", "127.0.0.1.1", "1.2.3.4.5", "127.0.0.0x1", "1.1.1.01", "99999999999", "127..1",
)  # fmt: skip
PRIVATE = (
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.1.254",
    "169.254.0.1", "100.64.0.1", "100.127.255.254", "192.0.0.1", "192.0.2.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "192.88.99.1",
)  # fmt: skip
METADATA = (
    "169.254.169.254", "169.254.170.2", "169.254.169.123", "100.100.100.200", "192.0.0.192",
    "168.63.129.16", "[fd00:ec2::254]", "[fd20:ce::254]", "[::ffff:169.254.169.254]",
)  # fmt: skip
IPV6 = (
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::0.0.0.1]", "[::127.0.0.1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::FFFF:192.168.0.1]",
    "[0:0:0:0:0:ffff:7f00:0001]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::8.8.8.8]", "[2002:7f00:1::]",
    "[2002:a00:1::1]", "[2002:c0a8:101::1]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[2001::1]",
    "[fc00::1]", "[fd00::1]", "[fdff:ffff::1]", "[fe80::1]", "[febf::1]", "[fec0::1]", "[feff::1]",
    "[ff02::1]", "[ff0e::1]", "[2001:db8::1]", "[3fff::1]", "[100::1]", "[5f00::1]", "[4000::1]",
    "[2a00:1450::5efe:127.0.0.1]", "[2a00:1450::200:5efe:a00:1]", "[fe80::1%25eth0]",
    "[fe80::1%eth0]", "[::1%251]", "[::1%lo]", "[::1", "::1", "[::1]x", "[1]", "[127.0.0.1]",
    "[localhost]", "[]", "[:::1]", "[::1]]", "[[::1]]", "[v1.fe]",
)  # fmt: skip
LOOKALIKES = (
    "①②⑦.⓪.⓪.①", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "１２７.0.0.1", "𝟏𝟐𝟕.0.0.1",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "ｌｏｃａｌｈｏｓｔ", "ＬＯＣＡＬＨＯＳＴ。", "[::１]", "ⅼocalhost",
    "loc\u00adalhost", "a\u2100b.example", "127.0.0.1\u2024", "\u202elocalhost",
    "127.0.0.1\u200b", "₁₂₇.0.0.1",
)  # fmt: skip
CHARACTERS = (
    "127.0.0.1%00", "127.0.0.1%2500", "%6c%6f%63alhost", "%31%32%37.0.0.1", "exa mple.com",
    "example.com\\", "exa\tmple.com", "local\r\nhost", "localhost\n", "local\0host",
    "example.com\x7f", "\u00a0localhost", "example.com\u2028", "-example.com", "example-.com",
    ".example.com", "a..b", "exa<mple.com", "example.com;127.0.0.1", "example.com,127.0.0.1", "*",
    "a*.com", "$(x).com", "", ".", "..", f"{'a' * 64}.example.com", f"{'a.' * 127}com",
    f"{'a' * 5_000}.com", "*.com",
)  # fmt: skip
WHOLE = (
    "file:///etc/passwd", "file://127.0.0.1:{port}/etc/passwd", "FILE:///etc/passwd",
    "gopher://127.0.0.1:{port}/_GET%20/", "ftp://127.0.0.1:{port}/", "dict://127.0.0.1:{port}/info",
    "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "ldap://[::1]:{port}/", "tftp://127.0.0.1:{port}/x", "sftp://127.0.0.1:{port}/",
    "jar:http://127.0.0.1:{port}!/x", "ws://127.0.0.1:{port}/", "data:text/plain,x",
    "javascript:alert(1)", "about:blank", "netdoc:///etc", "//127.0.0.1:{port}/",
    "127.0.0.1:{port}", "localhost:{port}/", "/etc/passwd", "http:127.0.0.1:{port}",
    "http:/127.0.0.1:{port}/", "http:///127.0.0.1:{port}/", "http:////127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}\\", "http:/\\127.0.0.1:{port}/", " http://127.0.0.1:{port}/",
    "\thttp://127.0.0.1:{port}/", "http://127.0.0.1:{port}/\n", "ht\ntp://127.0.0.1:{port}/",
    "\x01http://127.0.0.1:{port}/", "\ufeffhttp://127.0.0.1:{port}/",
    "url:http://127.0.0.1:{port}/", "http://user@127.0.0.1:{port}/",
    "http://user:pass@127.0.0.1:{port}/", "http://@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/", "http://127.0.0.1:{port}@example.com/",
    "http://example.com:80@127.0.0.1:{port}/", "http://example.com%40127.0.0.1:{port}/",
    "http://example.com#@127.0.0.1:{port}/\\", "http://example.com\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/", "http://127.0.0.1:{port}\\.example.com/",
    "http://a@b@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}?@example.com/", "http://127.0.0.1:{port};@example.com/",
    "http://127.0.0.1:{port}:80/", "http://127.0.0.1 :{port}/", "http://127.0.0.1: {port}/",
    "http://example.com:0/", "http://example.com:65536/", "http://example.com:99999/",
    "http://example.com:-1/", "http://example.com:+80/", "http://example.com:/",
    "http://example.com:0x50/", "http://example.com:8０/", "http://example.com:080000/",
    "http://example.com:80:80/", "http://example.com:6379\r\nSLAVEOF 127.0.0.1 {port}\r\n/",
    "http://example.com/\r\nHost: 127.0.0.1", "http://example.com/ HTTP/1.1\r\nX: 1",
    "http://example.com/a b", "http://example.com/\0", "http://example.com/%0d%0a\r\n",
    "http://example.com/\u2028", "http://example.com/" + "a" * 5_000, "http://", "https://",
    "http://?", "http://#", "http://:80/", "http://:{port}", "", " ", "http", "x",
)  # fmt: skip
HOSTS = (*LOOPBACK, *PRIVATE, *METADATA, *IPV6, *NUMBERS, *LOOKALIKES, *CHARACTERS)
URLS: Sequence[str] = (
    *(f"http://{host}:{{port}}/" for host in HOSTS),
    *(f"https://{host}/" for host in (*LOOPBACK, *METADATA, *NUMBERS, *IPV6)),
    *WHOLE,
)
NAMES: Mapping[str, Sequence[str]] = {
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "7f000001.nip.io": ["127.0.0.1"],
    "localtest.me": ["127.0.0.1", "::1"],
    "six.localtest.me": ["::1"],
    "169-254-169-254.sslip.io": ["169.254.169.254"],
    "metadata.google.internal": ["169.254.169.254"],
    "metadata": ["169.254.169.254"],
    "instance-data": ["169.254.169.254"],
    "postgres": ["172.18.0.2"],
    "redis": ["172.18.0.3"],
    "kubernetes.default.svc": ["10.96.0.1"],
    "host.docker.internal": ["192.168.65.254"],
    "printer.local": ["192.168.1.20"],
    "xn--bcher-kva.example": ["10.0.0.1"],
    "one-inside.example": [PUBLIC, "127.0.0.1"],
    "inside-first.example": ["127.0.0.1", PUBLIC],
    "six-inside.example": [PUBLIC, "::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "unspecified.example": ["0.0.0.0"],
    "unspecified-six.example": ["::"],
    "carrier.example": ["100.64.0.1"],
    "unique-local.example": ["fd00::1"],
    "link-local.example": ["fe80::1%eth0"],
    "site-local.example": ["fec0::1"],
    "multicast.example": ["224.0.0.1"],
    "broadcast.example": ["255.255.255.255"],
    "nonsense.example": ["what is this"],
}


def hostile(port: int) -> list[str]:
    """Every one of URLS, at the canary's port where it has one."""
    return [url.replace("{port}", str(port)) for url in URLS]


def hostile_names(port: int) -> list[str]:
    """A URL of each of NAMES, some in other spellings."""
    return [
        url
        for name in NAMES
        for url in (f"http://{name}:{port}/", f"https://{name.upper()}.:{port}/page?q=1#part")
    ]


async def resolver(host: str, port: int) -> Sequence[str]:
    """What those in charge of NAMES say; nobody else is to be asked for."""
    if host not in NAMES:
        raise AssertionError(f"{host} was to be refused before it is resolved")
    return NAMES[host]


def _has_ipv6() -> bool:
    """Many a container has no ::1."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


# Where this machine can be reached besides 127.0.0.1.
BESIDE = "::1" if socket.has_ipv6 and _has_ipv6() else "127.0.0.2"


class Canary:
    """Listens on 127.0.0.1 and BESIDE, at the same port, and counts who comes."""

    def __init__(self) -> None:
        self.connections = 0
        self._servers: list[asyncio.Server] = []

    async def __aenter__(self) -> Self:
        first = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._servers = [first]
        self.port: int = first.sockets[0].getsockname()[1]
        try:
            self._servers.append(await asyncio.start_server(self._accept, BESIDE, self.port))
        except OSError:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.close()
            await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(ANSWER)
        await writer.drain()
        writer.close()
