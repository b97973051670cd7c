"""The way to a server of models: kept connections, a deadline, one retry.

Free of torch, numpy and an HTTP client, because every API process imports it; and because one
would take a millisecond of a question's eight.
"""

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from app.encoder.link import Link, Response
from app.errors import EncoderUnavailable
from app.performance.outgoing import trace_lines

# Shorter than the server's 75 s: a connection that is about to be closed is not used again.
KEEP_ALIVE_SECONDS = 60.0
# Unused ones. There are as many as requests at once.
MAX_IDLE = 32
# A server that has just been restarted is back within this time, or not soon.
RETRY_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is: a socket's path, or a host and port. `path` comes before the calls'."""

    socket_path: str | None
    host: str
    port: int
    tls: bool
    path: str
    named: str  # in the request's `Host`

    @classmethod
    def parse(cls, url: str) -> "Address":
        """From `http://host:port`, `https://host/v1` or `unix:///path`. ValueError for any other
        form."""
        scheme, _, rest = url.partition("://")
        if scheme in ("unix", "http+unix") and rest:
            return cls(unquote(rest), "", 0, False, "", "encoder")
        parts = urlsplit(url)
        if scheme not in ("http", "https") or not parts.hostname or not url.isascii():
            raise ValueError(url)
        tls = scheme == "https"
        port = (443 if tls else 80) if parts.port is None else parts.port
        path = parts.path.rstrip("/").removesuffix("/v1")
        return cls(None, parts.hostname, port, tls, path, parts.netloc.rpartition("@")[2])


class Connection:
    """To `http://host:port`, `https://host/v1` or `unix:///path` (percent-encoded where need be;
    `http+unix://` means the same); EncoderUnavailable for any other form. A `/v1` at the end is
    left away. `timeout_seconds` is the deadline of each request, `name` what messages call the
    server. Nothing is sent before `send`; close it at the end.

    It is the operator who names it, mostly inside his own network, so it may lie anywhere. What is
    sent goes there and nowhere else: no redirect is followed, and no proxy asked."""

    def __init__(
        self, url: str, api_key: str | None, timeout_seconds: float, name: str = "encoder"
    ) -> None:
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._address = self._parse(url)
        self._head = self._headers(api_key or "")
        self._tls: ssl.SSLContext | None = None
        self._idle: list[Link] = []
        self._open: set[Link] = set()
        self._closed = False
        self._acquired = self._opened = 0

    async def send(self, method: str, path: str, body: bytes | None = None) -> Response:
        """The answer, whatever its status. A connection that breaks is tried once more. Raises
        EncoderUnavailable."""
        request = self._request(method, path, body)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                try:
                    return await self._ask(request, self._kept())
                except _Lost:
                    # A model called twice does no harm, and a connection may have been closed.
                    await asyncio.sleep(RETRY_PAUSE_SECONDS)
                    return await self._ask(request, None)
        except TimeoutError as error:
            raise EncoderUnavailable(
                f"The {self._name} did not answer within {self._timeout_seconds:g} s."
            ) from error
        except _Lost as error:
            raise EncoderUnavailable(f"The {self._name} cannot be reached just now.") from error

    def statistics(self) -> dict[str, int]:
        """How many connections there are and are in use; since the start, how often one was used
        and how many were opened for it."""
        return {
            "open": len(self._open),
            "in_use": len(self._open) - len(self._idle),
            "acquired": self._acquired,
            "opened": self._opened,
        }

    async def aclose(self) -> None:
        """Close every connection; requests on their way are lost."""
        self._closed = True
        links = list(self._open)
        for link in links:
            link.close()
        for link in links:
            await link.wait_closed()

    async def _ask(self, request: bytes, link: Link | None) -> Response:
        try:
            if link is None:
                link = await self._connect()
            self._acquired += 1
            response = await link.ask(request)
        except (OSError, UnicodeError) as error:  # of which TLS's and a name's are some
            raise _Lost from error
        finally:
            if link is not None:
                self._keep(link)
        return response

    def _kept(self) -> Link | None:
        """The one that was used last; the others may be let go unused."""
        oldest = asyncio.get_running_loop().time() - KEEP_ALIVE_SECONDS
        while self._idle:
            link = self._idle.pop()
            if link.is_open and link.idle_since > oldest:
                return link
            self._drop(link)
        return None

    def _keep(self, link: Link) -> None:
        if not link.is_open or len(self._idle) >= MAX_IDLE or self._closed:
            self._drop(link)
            return
        link.idle_since = asyncio.get_running_loop().time()
        self._idle.append(link)

    def _drop(self, link: Link) -> None:
        link.close()
        self._open.discard(link)

    def _make(self) -> Link:
        return Link(self._forget)

    def _forget(self, link: Link) -> None:
        """It is gone, whoever closed it."""
        self._open.discard(link)
        if link in self._idle:
            self._idle.remove(link)

    async def _connect(self) -> Link:
        if self._closed:
            raise ConnectionResetError("This client was closed.")
        loop, address = asyncio.get_running_loop(), self._address
        if address.socket_path is not None:
            _, link = await loop.create_unix_connection(self._make, address.socket_path)
        else:
            tls = self._context() if address.tls else None
            _, link = await loop.create_connection(self._make, address.host, address.port, ssl=tls)
        self._open.add(link)
        self._opened += 1
        return link

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            # Not above: it takes 60 ms to import, for those only whose server is far away.
            from httpx2 import create_ssl_context

            self._tls = create_ssl_context(trust_env=False)
        return self._tls

    def _request(self, method: str, path: str, body: bytes | None) -> bytes:
        content = body or b""
        line = f"{method} {self._address.path}/{path} HTTP/1.1\r\n".encode()
        length = b"Content-Length: %d%b\r\n\r\n" % (len(content), trace_lines())
        return b"".join((line, self._head, length, content))

    def _headers(self, api_key: str) -> bytes:
        if not (api_key.isascii() and api_key.isprintable()):
            raise EncoderUnavailable(f"The {self._name}'s key must be one line of ASCII.")
        lines = [f"Host: {self._address.named}", "Accept: */*", "Content-Type: application/json"]
        if api_key:
            lines.append(f"Authorization: Bearer {api_key}")
        return "".join(f"{line}\r\n" for line in lines).encode()

    def _parse(self, url: str) -> Address:
        try:
            return Address.parse(url)
        except ValueError as error:
            raise EncoderUnavailable(
                f"The {self._name}'s address must be http://…, https://… or unix:///…."
            ) from error


class _Lost(Exception):
    """There was no connection, or it broke before the answer was whole."""
