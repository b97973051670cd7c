"""What a URL names, read strictly: where parsers disagree, there is nothing to agree on here.

Pure. A host comes out in the one form in which it is compared, resolved, connected to and sent.
"""

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

from app.errors import InvalidInput

MAX_URL_CHARS = 2000
MAX_HOST_CHARS = 253  # of a name in DNS
PORTS = {"http": 80, "https": 443}
# All that stands for itself in a path, and escapes that somebody has made already.
IN_PATHS = "/%:@!$&'()*+,;=~-._"
IN_QUERIES = IN_PATHS + "?"

URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?",
    re.IGNORECASE,
)
AUTHORITY = re.compile(r"(?P<host>\[[^\[\]@]*\]|[^\[\]:@]*)(?::(?P<port>[0-9]{1,5}))?")
# Letters, digits and hyphens; the underscore because names inside of networks have it.
LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What `inet_aton` takes for a part of an IPv4 address: 127, 0177, 0x7f.
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `host` is a name in lower case ASCII or an address, without brackets;
    `path` is what a request line has, with the query."""

    tls: bool
    host: str
    port: int
    path: str

    @property
    def named(self) -> str:
        """As the `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = PORTS["https" if self.tls else "http"]
        return host if self.port == usual else f"{host}:{self.port}"


def parse_url(url: str) -> Target:
    """Raises InvalidInput, naming what is wrong, for everything but `http://…` and `https://…` with
    a plain host: no user, no characters that are not seen, no number that is not an address."""
    if len(url) > MAX_URL_CHARS:
        raise InvalidInput(f"The URL has more than {MAX_URL_CHARS:,} characters.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise InvalidInput("The URL has a space, a backslash or a character that is not seen.")
    found = URL.fullmatch(url)
    if found is None:
        raise InvalidInput("The URL must begin with http:// or https://.")
    authority = AUTHORITY.fullmatch(found["authority"])
    if authority is None:
        raise InvalidInput("The URL must have a plain host after //, and no user name or password.")
    scheme = found["scheme"].lower()
    path = quote(found["path"] or "/", IN_PATHS) + quote(found["query"] or "", IN_QUERIES)
    port = _port(authority["port"], scheme)
    return Target(scheme == "https", normal_host(authority["host"]), port, path)


def normal_host(host: str) -> str:
    """The one form of a host: a name in lower case ASCII without a dot at its end, or an address as
    it is usually written. Brackets around IPv6 may be there or not. Raises InvalidInput."""
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in inner or inner != host:
        return str(_ipv6(inner))
    name = _ascii(host).removesuffix(".")
    labels = name.split(".")
    if len(name) > MAX_HOST_CHARS or not all(LABEL.fullmatch(label) for label in labels):
        raise InvalidInput("The host is not a name or an address as they are usually written.")
    if NUMBER.fullmatch(labels[-1]):
        return str(_ipv4(name))
    return name


def literal(host: str) -> Address | None:
    """The address that a normal host is; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _port(digits: str | None, scheme: str) -> int:
    port = PORTS[scheme] if digits is None else int(digits)
    if not 0 < port < 65536:
        raise InvalidInput("The URL's port must be from 1 to 65535.")
    return port


def _ascii(host: str) -> str:
    """By IDNA, which also makes ordinary dots, digits and letters of those that look like them."""
    try:
        return (host if host.isascii() else host.encode("idna").decode("ascii")).lower()
    except UnicodeError:
        raise InvalidInput("The host is not a name that can be written in ASCII.") from None


def _ipv4(name: str) -> IPv4Address:
    """Four decimal numbers. 0x7f.1, 0177.0.0.1 and 2130706433 are addresses to some, not here."""
    try:
        return IPv4Address(name)
    except ValueError:
        raise InvalidInput(
            "The host ends with a number but is not an IPv4 address of four decimal ones."
        ) from None


def _ipv6(text: str) -> IPv6Address:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise InvalidInput("The host in brackets is not an IPv6 address.") from None
    if address.scope_id is not None:
        raise InvalidInput("An IPv6 address with a zone is one of this machine's own networks.")
    return address
