"""Pages of the public internet, read whole: the way in for documents that are named by a URL.

One request, to an address that the guard has looked at. No redirect is followed, no proxy asked, no
compression taken, no cookie or credential sent.
"""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from app.errors import TooLarge, UnsupportedMediaType
from app.outgoing.errors import PageRefused, PageUnavailable
from app.outgoing.exchange import Broken, Exchange
from app.outgoing.guard import Guard
from app.outgoing.pool import Pool, Unreachable
from app.outgoing.tls import system_tls
from app.outgoing.urls import Target

CONNECT_SECONDS = 10.0
MEDIA_TYPES = ("text/html", "text/markdown", "text/plain", "application/json")
# What servers say that send no UTF-8; by the web's rule Latin-1 means Windows' superset of it.
CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "windows-1252": "cp1252",
    "iso-8859-15": "iso8859-15",
}
# Which failures of a server pass by themselves.
PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True)
class Page:
    """What a URL gave. `media_type` is one of MEDIA_TYPES; the content is in UTF-8 where the server
    has said what it is in."""

    url: str
    media_type: str
    content: bytes


class Pages:
    """Fetches pages where the guard lets it."""

    def __init__(
        self, guard: Guard, max_bytes: int, tls: Callable[[], ssl.SSLContext] = system_tls
    ) -> None:
        """`max_bytes` is a page's. `tls` is called once, for the first page that needs it."""
        self._guard = guard
        self._max_bytes = max_bytes
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None

    def check_url(self, url: str) -> None:
        """Raise the InvalidInput that can be known without asking anybody."""
        self._guard.check_url(url)

    async def fetch(self, url: str) -> Page:
        """The page; how long it may take is the caller's matter. Raises InvalidInput (Blocked and
        PageRefused among it), PageUnavailable, TooLarge and UnsupportedMediaType; nothing is
        connected to for a URL that is refused."""
        target = self._guard.check_url(url)
        pool = Pool(
            target.host,
            target.port,
            tls=self._context if target.tls else None,
            limit=1,
            connect_seconds=CONNECT_SECONDS,
            addresses=self._guard.addresses,
        )
        try:
            exchange = await pool.send(_request(target))
            try:
                return await _page(url, exchange, self._max_bytes)
            finally:
                exchange.close()
        except Unreachable as error:
            raise _unreachable(target.host, error.__cause__) from error
        except Broken as error:
            raise PageUnavailable(f"{target.host} broke off before the page was whole.") from error
        finally:
            await pool.aclose()

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
        return self._tls


def _request(target: Target) -> bytes:
    lines = [
        f"GET {target.path} HTTP/1.1",
        f"Host: {target.named}",
        f"Accept: {', '.join(MEDIA_TYPES)}",
        "Accept-Encoding: identity",
        "User-Agent: citestream",
        "Connection: close",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


async def _page(url: str, exchange: Exchange, limit: int) -> Page:
    _check_status(exchange.status)
    declared, _, parameters = exchange.headers.get("content-type", "").partition(";")
    media_type = declared.strip().lower()
    if media_type not in MEDIA_TYPES:
        raise UnsupportedMediaType(
            f"The page is {declared.strip()[:100] or 'of no type that its server names'}; "
            f"read are {', '.join(MEDIA_TYPES)}."
        )
    if exchange.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise PageRefused("The page came compressed, though its server was told not to.")
    content = await _content(exchange, limit)
    return Page(url, media_type, _in_utf8(content, parameters))


def _check_status(status: int) -> None:
    if status == HTTPStatus.OK:
        return
    if 300 <= status < 400:
        raise PageRefused(
            f"The page answered with the redirect {status}, which is not followed; send the "
            "address at which the page itself is."
        )
    failure = PageUnavailable if status >= 500 or status in PASSING else PageRefused
    raise failure(f"The page answered with the status {status} instead of 200.")


async def _content(exchange: Exchange, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    declared = exchange.headers.get("content-length", "")
    if declared.isdecimal():
        _check_size(int(declared[:18]), limit)
    while piece := await exchange.read():
        size += len(piece)
        _check_size(size, limit)
        pieces.append(piece)
    return b"".join(pieces)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"The page has more than the {limit:,} bytes that are accepted here.")


def _in_utf8(content: bytes, parameters: str) -> bytes:
    """As it came where nothing is said about it, or something that few would mean."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            codec = CHARSETS.get(value.strip().strip('"').lower(), "utf-8")
            return content if codec == "utf-8" else content.decode(codec, "replace").encode()
    return content


def _unreachable(host: str, cause: BaseException | None) -> PageRefused | PageUnavailable:
    """A name that does not resolve is mostly a wrong one."""
    if isinstance(cause, socket.gaierror | UnicodeError):
        return PageRefused(f"There is no host {host}, or its name cannot be resolved just now.")
    if isinstance(cause, ssl.SSLError):
        return PageRefused(f"{host} cannot be trusted: its certificate or its TLS is not valid.")
    return PageUnavailable(f"{host} could not be reached; try again shortly.")
