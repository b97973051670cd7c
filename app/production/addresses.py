"""What the addresses of servers say: who connects, with which password, and how far. Pure."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import parse_qsl, unquote, urlsplit

from app.settings import ConfigurationError

UNREADABLE = (
    "DATABASE_URL, DATABASE_OWNER_URL or REDIS_URL is no address; write what is neither a letter "
    "nor a digit in its password as %XX."
)
ENCRYPTED = ("require", "verify-ca", "verify-full")
# Of Postgres and of Redis: a file that says who one is, in place of a password.
CERTIFICATES = ("sslcert", "passfile", "ssl_certfile")


@dataclass(frozen=True, slots=True)
class Address:
    """Of a database or a Redis. `hosts` are empty, or folders, where it is a unix socket."""

    scheme: str
    hosts: tuple[str, ...]
    password: str = field(repr=False)
    options: dict[str, str] = field(repr=False)

    @property
    def local(self) -> bool:
        """Whether it is reached by a unix socket, which the file system guards."""
        return self.scheme == "unix" or all(host[:1] in ("", "/") for host in self.hosts)

    @property
    def guarded(self) -> bool:
        """Whether the server can know who connects."""
        named = any(self.options.get(name) for name in CERTIFICATES)
        return self.local or bool(self.password) or named

    @property
    def in_the_open(self) -> bool:
        """Whether a database's traffic may cross a network that others read. A name without a
        dot is a container's, or this machine."""
        if self.local or self.options.get("sslmode") in ENCRYPTED:
            return False
        return not all(_near(host) for host in self.hosts)


def address(url: str) -> Address:
    """The parts of an address that matter here; as asyncpg and redis-py read it. Raises
    ConfigurationError, without the reason, which would have the password in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(UNREADABLE) from None
    options = dict(parse_qsl(parts.query))
    places = parts.netloc.rpartition("@")[2] or options.get("host", "")
    return Address(
        scheme=parts.scheme,
        hosts=tuple(unquote(_without_port(place)) for place in places.split(",")),
        password=unquote(parts.password or "") or options.get("password", ""),
        options=options,
    )


def _without_port(place: str) -> str:
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0]


def _near(host: str) -> bool:
    if "." not in host and ":" not in host:
        return True
    try:
        return ip_address(host).is_private
    except ValueError:
        return False
