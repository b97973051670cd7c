"""Ending what is being answered when the right to it ends: a key or a session is revoked, a user is
disabled or demoted.

A credential is looked up when a request comes. An answer may take minutes from then on, so those of
all that is being answered here are looked up again every few seconds, in one statement.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import structlog

from app.chat.model import Claim, Scope
from app.errors import AppError, Unauthorized

# Within thirty seconds everything must have ended; so a look may fail, and another one be slow.
LOOK_SECONDS = 5.0
ENDED = "This credential was revoked or its rights have changed; sign in again."

Result = TypeVar("Result")
Resolve = Callable[[Sequence[Claim]], Awaitable[Sequence[Scope | None]]]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Revocation:
    """What is being answered in this process, by the credential that it is answered on."""

    def __init__(self, resolve: Resolve, seconds: float = LOOK_SECONDS) -> None:
        """`resolve` gives the scopes of claims, None for one that is good no more."""
        self._resolve = resolve
        self._seconds = seconds
        self._open: dict[Claim, set[Grant]] = {}

    def grant(self, claim: Claim | None, scope: Scope) -> "Grant":
        """For one answer. Without a claim there is nothing to be revoked."""
        return Grant(self, claim, scope)

    @property
    def watched(self) -> int:
        """By how many credentials something is being answered."""
        return len(self._open)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Revocation"]:
        """Look every few seconds while the block runs."""
        looking = asyncio.create_task(self._look_on(), name="revocation")
        try:
            yield self
        finally:
            looking.cancel()
            await asyncio.wait({looking})

    async def look(self) -> None:
        """End every answer whose credential has not the scope any more with which it began. Where
        nobody can be asked, nothing ends."""
        # Only those of now: who begins meanwhile was looked up later than this.
        before = {claim: tuple(grants) for claim, grants in self._open.items()}
        if not before:
            return
        try:
            found = await self._resolve(list(before))
        except AppError as error:
            log.warning("credentials not looked up again", code=error.code)
            return
        except Exception:  # whatever it is, the next look may succeed
            log.exception("credentials not looked up again")
            return
        for scope, grants in zip(found, before.values(), strict=True):
            for grant in grants:
                if grant.scope != scope:
                    grant.end()

    def begin(self, claim: Claim, grant: "Grant") -> None:
        self._open.setdefault(claim, set()).add(grant)

    def over(self, claim: Claim, grant: "Grant") -> None:
        grants = self._open[claim]
        grants.discard(grant)
        if not grants:
            del self._open[claim]

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self.look()


class Grant:
    """What one answer is given on: a credential, and the scope that it had."""

    def __init__(self, revocation: Revocation, claim: Claim | None, scope: Scope) -> None:
        self.scope = scope
        self._revocation = revocation
        self._claim = claim
        self._working: asyncio.Task[Any] | None = None
        self._ended = False

    async def during(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of `work`, which is cancelled when the grant ends; then Unauthorized."""
        if self._claim is None:
            return await work
        self._working = working = cast("asyncio.Task[Any]", asyncio.current_task())
        cancelling = working.cancelling()
        self._revocation.begin(self._claim, self)
        try:
            return await work
        except asyncio.CancelledError:
            if self._ended and working.cancelling() <= cancelling + 1:
                raise Unauthorized(ENDED) from None
            raise
        finally:
            self._working = None
            self._revocation.over(self._claim, self)
            if self._ended:
                working.uncancel()

    def end(self) -> None:
        """Stop the work; what is over already stays as it is."""
        if self._working is not None and not self._ended:
            self._ended = True
            self._working.cancel()
