"""A vendor's chat API over our own connections: one `POST` a question, answered by a stream.

The vendors' SDKs take half a millisecond (OpenAI's) to five (Mistral's) to make this request, and
their HTTP client thirteen microseconds to pass on a token. docs/adr/0013 has the figures.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from urllib.parse import SplitResult, quote, unquote, urlsplit

import orjson

from app.errors import InvalidInput, ProviderRejected, Unavailable
from app.outgoing.exchange import Broken, Exchange
from app.outgoing.guard import Resolve, resolve
from app.outgoing.pool import MAX_CONNECTIONS, Exhausted, Pool, Unreachable
from app.outgoing.tls import system_tls
from app.outgoing.urls import IN_PATHS, PORTS
from app.performance.outgoing import trace_lines
from app.providers.faults import Vendor

# What a provider is given where the server wants no key.
NO_KEY = "none"
# Of what a vendor says beside a status that is no answer: read, so that its connection is kept.
MAX_REFUSAL_BYTES = 64 * 1024
REFUSAL_SECONDS = 1.0


class Refused(Exception):
    """The vendor answered with a status that is not a stream of tokens, and with what it says."""

    def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.text = text


class Api:
    """`POST`s to one address with one key. No redirects: one would carry the prompt and the key to
    an address that nobody configured. No proxies, and no compression, which would hold tokens
    back."""

    def __init__(
        self,
        url: str,
        key: str,
        vendor: Vendor,
        *,
        accept: str,
        connect_seconds: float,
        connections: int = MAX_CONNECTIONS,
        addresses: Resolve = resolve,
    ) -> None:
        """`url` is that of the call itself. `addresses` is a guard's where a tenant has named it,
        and any that the system knows where the operator has."""
        parts = urlsplit(url)
        self._vendor = vendor
        self._head = head(parts, key, accept)
        self._pool = Pool(
            hostname(parts),
            parts.port or PORTS.get(parts.scheme, 443),
            tls=None if parts.scheme == "http" else system_tls,
            limit=connections,
            connect_seconds=connect_seconds,
            addresses=addresses,
        )

    async def post(self, body: object) -> Exchange:
        """The answer, whose head says that it is a stream of tokens; the caller closes it. Raises
        Refused, and as an AppError what is wrong on the way."""
        if self._head is None:
            raise ProviderRejected(
                f"{self._vendor.label} cannot be asked with this API key, which has a line break "
                f"or another character that HTTP does not carry; check {self._vendor.key_variable}."
            )
        content = encoded(body)
        try:
            exchange = await self._pool.send(self._head % (len(content), trace_lines()) + content)
        except (Unreachable, Broken) as error:
            raise self._vendor.unreachable() from error
        except InvalidInput as error:  # what the guard says, now that it is to be connected to
            raise ProviderRejected(f"{self._vendor.label} is not asked: {error.message}") from error
        except Exhausted as error:
            raise Unavailable(
                f"All connections to {self._vendor.label} are in use; try again shortly."
            ) from error
        if exchange.status == 200 and is_stream(exchange.headers):
            exchange.headers.clear()  # it may last for minutes, and so may a thousand others
            return exchange
        try:
            exchange.until(asyncio.get_running_loop().time() + REFUSAL_SECONDS)
            text = (await exchange.finish(MAX_REFUSAL_BYTES)).decode(errors="replace")
        finally:
            exchange.close()
        raise Refused(exchange.status, exchange.headers, text)

    def statistics(self) -> dict[str, int]:
        """Of its connections."""
        return self._pool.statistics()

    def retire(self) -> None:
        """Nobody asks any more: its connections are closed as they come free."""
        self._pool.retire()

    async def aclose(self) -> None:
        await self._pool.aclose()


def encoded(body: object) -> bytes:
    """JSON; half of a surrogate pair, which a model's stream may have cut in two, is escaped."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body).encode()


def under(base_url: str, path: str) -> str:
    """The address of a call beneath an API's, which may end with a slash or have a query."""
    parts = urlsplit(base_url)
    return parts._replace(path=parts.path.rstrip("/") + path).geturl()


def head(parts: SplitResult, key: str, accept: str) -> bytes | None:
    """The request's head with places for the body's length and for the trace's lines; None for a
    key that cannot stand in one."""
    authorization = f"Bearer {key}"
    if parts.username is not None:  # who puts a name into an address means this
        name = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(name.encode()).decode()}"
    if not (authorization.isascii() and authorization.isprintable()):
        return None
    query = f"?{quote(parts.query, IN_PATHS)}" if parts.query else ""
    host = hostname(parts)
    host = f"[{host}]" if ":" in host else host
    lines = [
        f"POST {quote(parts.path, IN_PATHS)}{query} HTTP/1.1",
        f"Host: {host if parts.port is None else f'{host}:{parts.port}'}",
        f"Authorization: {authorization}",
        f"Accept: {accept}",
        "Accept-Encoding: identity",
        "User-Agent: citestream",
        "Content-Type: application/json",
        "Content-Length: ",
    ]
    return "\r\n".join(lines).encode().replace(b"%", b"%%") + b"%d%b\r\n\r\n"


def hostname(parts: SplitResult) -> str:
    """As it is resolved: in ASCII, or as it stands where that is impossible, and nothing will."""
    name = parts.hostname or ""
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name


def is_stream(headers: Mapping[str, str]) -> bool:
    """False for a web page or a whole JSON answer where a stream of tokens was asked for, and for
    one that is compressed."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    plain = headers.get("content-encoding", "identity").strip().lower() in ("identity", "")
    return plain and kind not in ("text/html", "application/json")
