"""An issuer's public keys, by the address at which it publishes them: at hand, and kept fresh.

A request never waits for them but where its token names a key that is not there, which is how a
new one is met first. Then all who meet it wait for one fetch, and there is one in ten seconds at
most, whatever tokens come.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from app.errors import Unavailable
from app.identity.fetching import NotFetched
from app.identity.key_set import IssuerKey, read_keys

# A key that its issuer has withdrawn is good for so much longer.
REFRESH_SECONDS = 300.0
# Between two fetches, also where tokens name keys that no one has.
PAUSE_SECONDS = 10.0
# While the issuer is away: who signs in there cannot either, so its tokens run out meanwhile.
KEEP_SECONDS = 24 * 3600.0

log = structlog.get_logger(__name__)


class KeysUnavailable(Unavailable):
    """The keys of this server's issuer of tokens cannot be fetched just now; try again shortly."""


class IssuerKeys:
    """The keys of one algorithm. `fetch` gives the document, and raises NotFetched where there
    is none."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        algorithm: str,
        *,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._fetch = fetch
        self._algorithm = algorithm
        self._now = now
        self._pause = pause
        self._keys: Sequence[IssuerKey] = ()
        self._version = 0
        self._fetched_at = self._tried_at = -float("inf")
        self._fetching: asyncio.Task[None] | None = None
        self._working = True

    @property
    def version(self) -> int:
        """Another number as soon as other keys count: those of yesterday are none."""
        self._forget()
        return self._version

    async def find(self, key_id: str | None) -> Any:
        """The key of this id, or None; without an id, the only one there is. Raises KeysUnavailable
        where there are none at all."""
        found = self._find(key_id)
        if found is None and (self._fetching or self._now() - self._tried_at >= PAUSE_SECONDS):
            await self.refresh()
            found = self._find(key_id)
        if not self._keys:
            raise KeysUnavailable(retry_after=PAUSE_SECONDS)
        return found

    async def refresh(self) -> None:
        """Fetch them, or wait for who does already. Where that fails the old ones stay."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._refresh(), name="keys of the issuer")
        # Whoever leaves must not end it for the others.
        await asyncio.shield(self._fetching)

    async def keep_fresh(self) -> None:
        """Fetch them now and every few minutes, sooner where that fails, until cancelled."""
        while True:
            await self.refresh()
            await self._pause(REFRESH_SECONDS if self._working else PAUSE_SECONDS)

    async def aclose(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    def _forget(self) -> None:
        if self._keys and self._now() - self._fetched_at > KEEP_SECONDS:
            self._replace(())

    def _find(self, key_id: str | None) -> Any:
        self._forget()
        if key_id is None:
            return self._keys[0].key if len(self._keys) == 1 else None
        return next((each.key for each in self._keys if each.id == key_id), None)

    async def _refresh(self) -> None:
        self._tried_at = self._now()
        try:
            self._take(await self._fetch())
        except NotFetched as error:
            self._failed(error.reason)
        except ValueError:
            self._failed(f"the document has no key for {self._algorithm}")
        finally:
            self._fetching = None

    def _take(self, document: bytes) -> None:
        """Raises ValueError for one without keys."""
        keys = read_keys(document, self._algorithm)
        if not keys:
            raise ValueError
        if not self._working:
            log.info("issuer's keys fetched again")
        self._working, self._fetched_at = True, self._now()
        if [each.numbers for each in keys] != [each.numbers for each in self._keys]:
            self._replace(keys)

    def _failed(self, reason: str) -> None:
        if self._working:
            log.warning("issuer's keys not fetched", reason=reason)
        self._working = False

    def _replace(self, keys: Sequence[IssuerKey]) -> None:
        self._keys = keys
        self._version += 1
