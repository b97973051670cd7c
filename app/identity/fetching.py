"""Fetching the document with an issuer's keys from the address that the operator has set."""

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from httpx2 import AsyncClient

MAX_BYTES = 1024 * 1024
# A request may wait for it. Issuers answer in a tenth of it.
DEADLINE_SECONDS = 5.0


class NotFetched(Exception):
    """There is no document; `reason` says why, in words of ours."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Document:
    """What is at one address, which is the operator's: in a private network as well as not. No
    redirect is followed, since it could lead anywhere, and no proxy of the environment is used."""

    def __init__(self, url: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._url = url
        self._deadline_seconds = deadline_seconds
        self._client: AsyncClient | None = None

    async def fetch(self) -> bytes:
        """All of it. Raises NotFetched for whatever is not a plain answer, in time and of a size
        that keys have."""
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await self._fetch()
        except TimeoutError as error:
            raise NotFetched(f"no answer within {self._deadline_seconds:g} s") from error

    async def aclose(self) -> None:
        """Close what is open."""
        if self._client is not None:
            await self._client.aclose()

    async def _fetch(self) -> bytes:
        if self._client is None:
            # Its import and the certificates take 100 ms, which nobody else should wait for.
            self._client = await asyncio.to_thread(_make_client)
        from httpx2 import HTTPError, InvalidURL

        content = bytearray()
        try:
            async with self._client.stream("GET", self._url) as answer:
                if answer.status_code != 200:
                    raise NotFetched(f"it answered with status {answer.status_code}")
                async for part in answer.aiter_raw():
                    content += part
                    if len(content) > MAX_BYTES:
                        raise NotFetched("it is larger than any set of keys")
        except (HTTPError, InvalidURL) as error:
            raise NotFetched(type(error).__name__) from error
        return bytes(content)


def _make_client() -> "AsyncClient":
    from httpx2 import AsyncClient, Limits

    return AsyncClient(
        trust_env=False,
        follow_redirects=False,
        timeout=None,  # the deadline is of all of it
        limits=Limits(max_connections=1, max_keepalive_connections=0),
        # Unpacked, a small answer could be any size.
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    )
