"""Entries on their way to the audit log: together, counted, kept when the database is back."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from app.chat import journal as journals
from app.chat.administration import AuditEntry, AuditRecord, Page
from app.chat.journal import Journal
from app.chat.model import Claim, Scope
from app.errors import DatabaseUnavailable

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CHANGE = AuditEntry(1, NOW, "user:1", "admin", "agent.delete", "agent", "7", "ok", 204, "r1")
REFUSAL = replace(CHANGE, result="denied", status=403, request_id="r2")
NEVER = 3600.0


class Kept:
    """The log in memory, which can be away, be slow, or refuse a tenant's for good."""

    def __init__(self) -> None:
        self.batches: list[list[AuditEntry]] = []
        self.away = False
        self.broken: set[int] = set()
        self.attempts = asyncio.Queue[int]()
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def append(self, entries: Sequence[AuditEntry]) -> None:
        self.attempts.put_nowait(len(entries))
        await self.goes_on.wait()
        if self.away:
            raise DatabaseUnavailable
        if entries[0].tenant_id in self.broken:
            raise ValueError("a defect")
        self.batches.append(list(entries))

    async def list(
        self,
        scope: Scope,
        limit: int,
        after: str | None,
        subject: str | None = None,
        action: str | None = None,
    ) -> Page[AuditRecord]:
        raise NotImplementedError

    async def holder_of(self, claim: Claim) -> Scope | None:
        raise NotImplementedError


async def test_a_change_is_kept_when_keep_returns() -> None:
    kept = Kept()
    async with Journal(kept, NEVER).running() as journal:
        await journal.keep(CHANGE)
        assert kept.batches == [[CHANGE]]


async def test_changes_at_once_are_one_statement() -> None:
    kept = Kept()
    async with Journal(kept, NEVER).running() as journal:
        kept.goes_on.clear()
        first = asyncio.create_task(journal.keep(CHANGE))
        await kept.attempts.get()
        others = [asyncio.create_task(journal.keep(CHANGE)) for _ in range(20)]
        await asyncio.sleep(0)
        kept.goes_on.set()
        await asyncio.gather(first, *others)
    assert [len(batch) for batch in kept.batches] == [1, 20]


async def test_the_same_refusals_are_counted_and_come_with_the_next_change() -> None:
    kept = Kept()
    later = replace(REFUSAL, at=NOW + timedelta(seconds=1), request_id="r3")
    async with Journal(kept, NEVER).running() as journal:
        for refusal in (REFUSAL, later, later, replace(later, subject="key:2")):
            journal.note(refusal)
        assert not kept.batches
        await journal.keep(replace(CHANGE, at=NOW - timedelta(seconds=1)))
    [[change, counted, other]] = kept.batches
    assert change.result == "ok"
    assert counted == replace(REFUSAL, count=3)
    assert (other.subject, other.count) == ("key:2", 1)


async def test_refusals_are_kept_within_a_moment() -> None:
    kept = Kept()
    async with Journal(kept, 0.01).running() as journal:
        journal.note(REFUSAL)
        assert await kept.attempts.get() == 1


async def test_each_tenants_entries_are_by_themselves() -> None:
    kept = Kept()
    kept.broken.add(2)
    with capture_logs() as logs:
        async with Journal(kept, NEVER).running() as journal:
            for tenant in (2, 3, 2):
                journal.note(replace(REFUSAL, tenant_id=tenant))
            await journal.keep(CHANGE)
    assert [batch[0].tenant_id for batch in kept.batches] == [1, 3]
    lost = [line for line in logs if line["event"] == "audit entry lost"]
    assert [(line["tenant_id"], line["count"]) for line in lost] == [(2, 2)]


async def test_nothing_is_lost_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "RETRY_SECONDS", 0.01)
    kept = Kept()
    kept.away = True
    with capture_logs() as logs:
        async with Journal(kept, NEVER).running() as journal:
            await journal.keep(CHANGE)  # returns: it is made, and its response goes out
            journal.note(REFUSAL)
            while await kept.attempts.get() < 2:
                pass
            kept.away = False
            while not kept.batches:
                await kept.attempts.get()
    assert [set(batch) for batch in kept.batches] == [{CHANGE, REFUSAL}]
    assert [line["event"] for line in logs] == [
        "audit log waits for the database",
        "audit log is kept again",
    ]


async def test_what_waits_is_bounded_and_what_is_beyond_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journals, "MAX_WAITING", 3)
    kept = Kept()
    with capture_logs() as logs:
        async with Journal(kept, NEVER).running() as journal:
            for number in range(5):
                journal.note(replace(REFUSAL, object_id=str(number)))
            journal.note(replace(REFUSAL, object_id="1"))
            await journal.keep(CHANGE)
    assert [(entry.object_id, entry.count) for entry in kept.batches[0]] == [
        ("7", 1), ("0", 1), ("1", 2), ("2", 1),
    ]  # fmt: skip
    assert [(line["event"], line["count"]) for line in logs] == [
        ("too many refusals for the audit log", 2)
    ]


async def test_the_end_keeps_what_is_left() -> None:
    kept = Kept()
    async with Journal(kept, NEVER).running() as journal:
        journal.note(REFUSAL)
    assert kept.batches == [[REFUSAL]]


async def test_a_cancelled_request_does_not_take_its_entry_with_it() -> None:
    kept = Kept()
    async with Journal(kept, NEVER).running() as journal:
        kept.goes_on.clear()
        request = asyncio.create_task(journal.keep(CHANGE))
        await kept.attempts.get()
        request.cancel()
        await asyncio.wait({request})
        kept.goes_on.set()
    assert kept.batches == [[CHANGE]]


async def test_what_the_end_cannot_keep_is_logged_in_full() -> None:
    kept = Kept()
    kept.away = True
    with capture_logs() as logs:
        async with Journal(kept, NEVER).running() as journal:
            journal.note(REFUSAL)
    line = logs[-1]
    assert (line["event"], line["subject"], line["at"]) == (
        "audit entry lost", "user:1", "2026-01-02T00:00:00+00:00",
    )  # fmt: skip
