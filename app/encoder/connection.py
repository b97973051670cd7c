"""The way to a server of models: kept connections, a deadline, one retry.

Free of torch and numpy, because every API process imports it.
"""

import asyncio
from urllib.parse import unquote

import httpx2

from app.errors import EncoderUnavailable

# Shorter than the server's 75 s: a connection that is about to be closed is not used again.
KEEP_ALIVE_SECONDS = 60.0
# A server that has just been restarted is back within this time, or not soon.
RETRY_PAUSE_SECONDS = 0.05


class Connection:
    """To `http://host:port`, `https://host/v1` or `unix:///path` (percent-encoded where need be;
    `http+unix://` means the same); EncoderUnavailable for any other form. A `/v1` at the end is
    left away. `timeout_seconds` is the deadline of each request, `name` what messages call the
    server. Nothing is sent before `send`; close it at the end."""

    def __init__(
        self, url: str, api_key: str | None, timeout_seconds: float, name: str = "encoder"
    ) -> None:
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._http = self._open(url, api_key)

    async def send(self, method: str, path: str, body: bytes | None = None) -> httpx2.Response:
        """The answer, whatever its status. A connection that breaks is tried once more. Raises
        EncoderUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                try:
                    return await self._http.request(method, path, content=body)
                except httpx2.TransportError:
                    # A model called twice does no harm, and a connection may have been closed.
                    await asyncio.sleep(RETRY_PAUSE_SECONDS)
                    return await self._http.request(method, path, content=body)
        except TimeoutError as error:
            raise EncoderUnavailable(
                f"The {self._name} did not answer within {self._timeout_seconds:g} s."
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise EncoderUnavailable(f"The {self._name} cannot be reached just now.") from error

    async def aclose(self) -> None:
        await self._http.aclose()

    def _open(self, url: str, api_key: str | None) -> httpx2.AsyncClient:
        scheme, _, rest = url.partition("://")
        if scheme not in ("http", "https", "unix", "http+unix") or not rest:
            raise EncoderUnavailable(
                f"The {self._name}'s address must be http://…, https://… or unix:///…."
            )
        socket_path = unquote(rest) if scheme.endswith("unix") else None
        base = "http://encoder" if socket_path else url.rstrip("/").removesuffix("/v1")
        limits = httpx2.Limits(
            max_connections=None,
            max_keepalive_connections=32,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
        )
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        return httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=socket_path, limits=limits),
            base_url=base,
            headers=headers,
            timeout=None,  # each request has a deadline of its own
            trust_env=False,  # a proxy for the web is not on the way to the encoder
        )
