"""Work that is done on a credential, and ends with it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from app.api.revocation import Grant, Revocation
from app.chat.model import Claim, Scope
from app.errors import DatabaseUnavailable, Unauthorized

ADA, BOB = Claim(b"ada"), Claim(b"bob")
MEMBER = Scope(1, "user:1", "member")


class Directory:
    """Who has which rights now; `away` is a database that cannot be asked."""

    def __init__(self) -> None:
        self.scopes: dict[Claim, Scope | None] = {ADA: MEMBER, BOB: MEMBER}
        self.away = False
        self.asked: list[Sequence[Claim]] = []

    async def __call__(self, claims: Sequence[Claim]) -> Sequence[Scope | None]:
        self.asked.append(claims)
        if self.away:
            raise DatabaseUnavailable
        return [self.scopes[claim] for claim in claims]


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def revocation(directory: Directory) -> Revocation:
    return Revocation(directory)


async def started(grant: Grant, work: Any = None) -> "asyncio.Task[Any]":
    """A task that does the work, by default for ever, and has begun."""
    begun = asyncio.Event()

    async def working() -> Any:
        begun.set()
        return await (work or asyncio.Event()).wait()

    task = asyncio.create_task(grant.during(working()))
    await begun.wait()
    return task


@pytest.mark.parametrize(
    "now", [None, Scope(1, "user:1", "admin"), Scope(2, "user:1", "member"),
            Scope(1, "user:2", "member"), Scope(1, "user:1", "member", (7,))],
)  # fmt: skip
async def test_what_is_done_on_other_rights_ends(
    directory: Directory, revocation: Revocation, now: Scope | None
) -> None:
    ada, twice = [await started(revocation.grant(ADA, MEMBER)) for _ in range(2)]
    bob = await started(revocation.grant(BOB, MEMBER))
    await revocation.look()
    directory.scopes[ADA] = now
    await revocation.look()
    for task in (ada, twice):
        with pytest.raises(Unauthorized, match="revoked"):
            await task
        assert task.cancelling() == 0
    assert not bob.done()
    await revocation.look()
    assert [list(claims) for claims in directory.asked] == [[ADA, BOB], [ADA, BOB], [BOB]]
    bob.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bob


async def test_without_anybody_nothing_is_asked(
    directory: Directory, revocation: Revocation
) -> None:
    done = asyncio.Event()
    done.set()
    assert await revocation.grant(ADA, MEMBER).during(done.wait())
    free = await started(revocation.grant(None, MEMBER))
    await revocation.look()
    assert directory.asked == []
    free.cancel()


async def test_a_database_that_is_away_ends_nothing(
    directory: Directory, revocation: Revocation
) -> None:
    task = await started(revocation.grant(ADA, MEMBER))
    directory.away, directory.scopes[ADA] = True, None
    await revocation.look()
    await asyncio.sleep(0)
    assert not task.done()
    directory.away = False
    await revocation.look()
    with pytest.raises(Unauthorized):
        await task


async def test_who_begins_during_a_look_is_not_compared_with_it(directory: Directory) -> None:
    """He was looked up later than that, and may have got other rights in between."""
    later: list[asyncio.Task[Any]] = []

    async def slow(claims: Sequence[Claim]) -> Sequence[Scope | None]:
        later.append(await started(revocation.grant(ADA, Scope(1, "user:1", "admin"))))
        return [MEMBER]

    revocation = Revocation(slow)
    first = await started(revocation.grant(ADA, MEMBER))
    await revocation.look()
    await asyncio.sleep(0)
    assert not first.done() and not later[0].done()
    for task in (first, *later):
        task.cancel()


async def test_being_cancelled_otherwise_is_no_revocation(
    directory: Directory, revocation: Revocation
) -> None:
    task = await started(revocation.grant(ADA, MEMBER))
    task.cancel()
    directory.scopes[ADA] = None
    await revocation.look()
    with pytest.raises(asyncio.CancelledError):
        await task
    await revocation.look()
    assert len(directory.asked) == 1


async def test_it_looks_again_and_again(directory: Directory) -> None:
    async with Revocation(directory, seconds=0.001).running() as revocation:
        task = await started(revocation.grant(ADA, MEMBER))
        directory.scopes[ADA] = None
        with pytest.raises(Unauthorized):
            await asyncio.wait_for(task, 10)
