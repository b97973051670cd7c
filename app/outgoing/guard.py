"""Where a request may go whose address a tenant has named: the public internet, and nowhere else
but to the hosts that the operator has allowed.

A name is resolved once. All that it resolves to must be public, and the connection is made to one
of the addresses that were looked at: a name that leads elsewhere a moment later is not asked again.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence

from app.errors import InvalidInput
from app.outgoing.addresses import is_public
from app.outgoing.errors import Blocked
from app.outgoing.urls import Target, literal, normal_host, parse_url

# All addresses of a host at a port, the best one first. Raises OSError where there is none.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> Sequence[str]:
    """By the system. Raises OSError and UnicodeError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Guard:
    """`allow` names hosts that may lie anywhere: a name as it stands in a URL, or an address. It is
    no pattern, and an address does not allow the names that lead to it."""

    def __init__(self, allow: Collection[str] = (), resolve: Resolve = resolve) -> None:
        """Raises InvalidInput for what is neither a name nor an address."""
        self._allowed = frozenset(_allowed(each) for each in allow)
        self._resolve = resolve

    def allows(self, host: str) -> bool:
        """Whether the operator has named this host. Raises InvalidInput for what is no host."""
        return normal_host(host) in self._allowed

    def check_url(self, url: str) -> Target:
        """What it names, which is not sure to be public before `addresses` has been asked. Raises
        InvalidInput for what is no URL to begin with, and Blocked for an address that is private.
        """
        target = parse_url(url)
        self._refuse_at_sight(target.host)
        return target

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses to connect to, best first. Raises InvalidInput for what is no host,
        Blocked, and OSError where the name does not resolve."""
        host = normal_host(host)
        self._refuse_at_sight(host)
        if literal(host) is not None:
            return [host]
        found = await self._resolve(host, port)
        if host not in self._allowed and not all(_leads_outside(each) for each in found):
            raise Blocked.naming(host)
        if not found:
            raise OSError(f"{host} has no address.")
        return found

    def _refuse_at_sight(self, host: str) -> None:
        """What needs no resolver. Every system has its own idea of what lies below localhost."""
        if host in self._allowed:
            return
        address = literal(host)
        if address is not None and not is_public(address):
            raise Blocked.naming(host)
        if host == "localhost" or host.endswith(".localhost"):
            raise Blocked.naming(host)


def _leads_outside(address: str) -> bool:
    """Also of what a resolver says in a form that nobody knows: no."""
    try:
        return is_public(ipaddress.ip_address(address))
    except ValueError:
        return False


def _allowed(host: str) -> str:
    try:
        return normal_host(host)
    except InvalidInput as error:
        raise InvalidInput(
            f"{host!r} is not the name of a host or an address, without a port or a scheme."
        ) from error
