"""What goes into the audit log, on its way there: together, in order, and not lost on the way.

A change is waited for until it is kept, with all that came in the meantime, in one statement. What
was refused is nobody's to wait for, and comes in floods: the same again within a moment is counted.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import structlog

from app.chat.administration import AuditEntry, AuditLog
from app.errors import Unavailable

log = structlog.get_logger(__name__)

# What was refused is kept within so long, and is one entry where it was the same.
MOMENT_SECONDS = 1.0
RETRY_SECONDS = 1.0
# Different entries that wait while the database is away, 0.5 KB each; refusals beyond are only
# counted. Changes are never among those: hardly any are made without the database.
MAX_WAITING = 10_000
# Longer nobody waits for an entry to be kept: the change is made, and its response goes out.
PATIENCE_SECONDS = 5.0
ANY_TIME = datetime.min.replace(tzinfo=UTC)


class Journal:
    """Entries that are not kept yet. They are while `running` is entered."""

    def __init__(self, audit: AuditLog, moment_seconds: float = MOMENT_SECONDS) -> None:
        self._audit = audit
        self._moment_seconds = moment_seconds
        self._waiting: list[AuditEntry] = []
        self._refusals: dict[AuditEntry, AuditEntry] = {}
        self._dropped = 0
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._attempted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._away = False
        self._closing = False

    async def keep(self, entry: AuditEntry) -> None:
        """Return once the entry is kept. While the database is away it waits here, and this returns
        after the first attempt."""
        self._waiting.append(entry)
        attempted = self._attempted
        self._due.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.shield(attempted)

    def note(self, entry: AuditEntry) -> None:
        """Have it kept within a moment, counted with others that are the same."""
        same = replace(entry, at=ANY_TIME, request_id="")
        if (known := self._refusals.get(same)) is not None:
            self._refusals[same] = replace(known, count=known.count + entry.count)
        elif len(self._refusals) + len(self._waiting) < MAX_WAITING:
            self._refusals[same] = entry
        else:
            self._dropped += 1
        if self._timer is None:
            self._timer = _later(self._moment_seconds, self._due)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Journal"]:
        """Keep what comes, and at the end what is left; where that fails, every field is logged."""
        keeping = asyncio.create_task(self._run(), name="audit log")
        try:
            yield self
        finally:
            self._closing = True
            self._due.set()
            await asyncio.wait({keeping})  # not cancelled: what is half kept would be kept twice
            await self._write()
            _log_lost(self._waiting)

    async def _run(self) -> None:
        while not self._closing:
            await self._due.wait()
            self._due.clear()
            if not await self._write():
                _later(RETRY_SECONDS, self._due)

    async def _write(self) -> bool:
        """One attempt to keep all that waits; False where the database is away."""
        entries = sorted(
            [*self._waiting, *self._refusals.values()], key=attrgetter("tenant_id", "at")
        )
        self._waiting, self._refusals = [], {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        attempted, self._attempted = self._attempted, asyncio.get_running_loop().create_future()
        left: list[AuditEntry] = []
        for _, group in groupby(entries, attrgetter("tenant_id")):
            left += await self._left_of(list(group))
        self._waiting = [*left, *self._waiting]
        attempted.set_result(None)
        self._tell_changes(away=bool(left))
        return not left

    async def _left_of(self, entries: Sequence[AuditEntry]) -> Sequence[AuditEntry]:
        """What could not be kept yet of one tenant's."""
        try:
            await self._audit.append(entries)
        except Unavailable:
            return entries
        except Exception:  # the task's edge: what can never be kept must not hold up the others
            log.exception("audit entries not kept", count=len(entries))
            _log_lost(entries)
        return ()

    def _tell_changes(self, *, away: bool) -> None:
        """One line for each change of state, and for what became of refusals meanwhile."""
        if away and not self._away:
            log.error("audit log waits for the database", count=len(self._waiting))
        if self._away and not away:
            log.info("audit log is kept again")
        self._away = away
        if self._dropped and not away:
            log.error("too many refusals for the audit log", count=self._dropped)
            self._dropped = 0


def _later(seconds: float, due: asyncio.Event) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, due.set)


def _log_lost(entries: Sequence[AuditEntry]) -> None:
    for entry in entries:
        log.error("audit entry lost", **_fields(entry))


def _fields(entry: AuditEntry) -> dict[str, Any]:
    fields = {**asdict(entry), "at": entry.at.isoformat()}
    del fields["entry_id"]
    return fields
