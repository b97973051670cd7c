"""What several ask for at once, done in one go; an item's error is its own."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from app.errors import AppError, DatabaseUnavailable, InvalidInput, NotFound
from app.stores import together
from app.stores.connections import NoConnectionFree
from app.stores.together import MOST, Together


class Statements:
    """Doubles numbers. Each statement waits for `go`; those below zero are refused."""

    def __init__(self) -> None:
        self.done: list[tuple[str, list[int]]] = []
        self.began = asyncio.Queue[list[int]]()
        self.go = asyncio.Semaphore(0)
        self.away: AppError | None = None

    def open(self) -> None:
        """From now on none of them waits."""
        for _ in range(1000):
            self.go.release()

    async def one(self, key: str, item: int) -> int:
        [result] = await self.many(key, [item])
        return result

    async def many(self, key: str, items: Sequence[int]) -> Sequence[int]:
        self.done.append((key, list(items)))
        self.began.put_nowait(list(items))
        await self.go.acquire()
        if self.away is not None:
            raise self.away
        if min(items) < 0:
            raise InvalidInput(str(min(items)))
        return [2 * item for item in items]


@pytest.fixture
def statements() -> Statements:
    return Statements()


@pytest.fixture
def joined(statements: Statements) -> Together[str, int, int]:
    return Together(statements.one, statements.many)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits, waits until the statement before is done."""
    monkeypatch.setattr(together, "PATIENCE_SECONDS", 3600.0)


async def ask(joined: Together[str, int, int], key: str, *items: int) -> list[asyncio.Task[int]]:
    """A task for each; all of them have asked when this returns."""
    tasks = [asyncio.create_task(joined.do(key, item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def test_who_is_alone_is_asked_for_at_once(
    statements: Statements, joined: Together[str, int, int]
) -> None:
    statements.open()
    assert [await joined.do("a", number) for number in (1, 2, 3)] == [2, 4, 6]
    assert statements.done == [("a", [1]), ("a", [2]), ("a", [3])]


@pytest.mark.usefixtures("patient")
async def test_what_comes_meanwhile_goes_together(
    statements: Statements, joined: Together[str, int, int]
) -> None:
    tasks = await ask(joined, "a", 1, 2, 3, 4)
    statements.open()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
    assert statements.done == [("a", [1]), ("a", [2, 3, 4])]
    assert await joined.do("a", 5) == 10


@pytest.mark.usefixtures("patient")
async def test_two_callers_are_never_done_together(
    statements: Statements, joined: Together[str, int, int]
) -> None:
    tasks = [*await ask(joined, "a", 1, 2, 3), *await ask(joined, "b", 4, 5, 6)]
    statements.open()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10, 12]
    assert statements.done == [("a", [1]), ("b", [4]), ("a", [2, 3]), ("b", [5, 6])]


@pytest.mark.usefixtures("patient")
async def test_no_more_than_that_at_a_time(
    statements: Statements, joined: Together[str, int, int]
) -> None:
    tasks = await ask(joined, "a", *range(2 * MOST + 2))
    statements.open()
    assert await asyncio.gather(*tasks) == [2 * number for number in range(2 * MOST + 2)]
    assert [len(items) for _, items in statements.done] == [1, MOST, MOST, 1]


async def test_nobody_waits_for_long_however_many_there_are(
    statements: Statements, joined: Together[str, int, int]
) -> None:
    hanging, *others = await ask(joined, "a", *range(3 * MOST + 1))
    assert [len(await statements.began.get()) for _ in range(4)] == [1, MOST, MOST, MOST]
    statements.open()
    assert await asyncio.gather(hanging, *others) == [2 * n for n in range(3 * MOST + 1)]


async def test_nobody_waits_for_long_for_one_that_hangs(
    statements: Statements, joined: Together[str, int, int]
) -> None:
    [hanging, *others] = await ask(joined, "a", 1, 2, 3)
    assert await statements.began.get() == [1]
    assert await statements.began.get() == [2, 3]
    assert not hanging.done()
    statements.open()
    assert await asyncio.gather(hanging, *others) == [2, 4, 6]


@pytest.mark.usefixtures("patient")
async def test_an_error_is_its_own_items(
    statements: Statements, joined: Together[str, int, int]
) -> None:
    tasks = await ask(joined, "a", 1, 2, -3, 4)
    statements.open()
    one, two, three, four = await asyncio.gather(*tasks, return_exceptions=True)
    assert (one, two, four) == (2, 4, 8)
    assert isinstance(three, InvalidInput)
    assert three.message == "-3"
    statements.done.clear()
    assert await joined.do("a", 5) == 10
    assert statements.done == [("a", [5])]


@pytest.mark.parametrize(
    "cause", [TimeoutError(), asyncpg.ConnectionDoesNotExistError(), None], ids=repr
)
@pytest.mark.usefixtures("patient")
async def test_what_the_server_does_not_answer_is_asked_once(
    statements: Statements, joined: Together[str, int, int], cause: Exception | None
) -> None:
    statements.away = DatabaseUnavailable() if cause else NoConnectionFree()
    statements.away.__cause__ = cause
    tasks = await ask(joined, "a", 1, 2, 3)
    statements.open()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(each, DatabaseUnavailable) for each in errors] == [True] * 3
    assert statements.done == [("a", [1]), ("a", [2, 3])]


@pytest.mark.usefixtures("patient")
async def test_who_is_rolled_back_for_another_is_asked_again(
    statements: Statements, joined: Together[str, int, int]
) -> None:
    statements.away = DatabaseUnavailable()
    statements.away.__cause__ = asyncpg.DeadlockDetectedError()
    tasks = await ask(joined, "a", 1, 2, 3)
    statements.open()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert statements.done == [("a", [1]), ("a", [2, 3]), ("a", [2]), ("a", [3])]


async def test_who_is_forgotten_by_a_statement_is_asked_for_alone() -> None:
    async def one(key: str, item: int) -> int:
        await asyncio.sleep(0)
        return item

    async def many(key: str, items: Sequence[int]) -> Sequence[int]:
        return items[1:]

    forgetful = Together(one, many)
    tasks = [asyncio.create_task(forgetful.do("a", item)) for item in (1, 2, 3)]
    assert await asyncio.gather(*tasks) == [1, 2, 3]


@pytest.mark.usefixtures("patient")
async def test_who_leaves_takes_nobody_with_him(
    statements: Statements, joined: Together[str, int, int]
) -> None:
    first, second, third, fourth = await ask(joined, "a", 1, 2, 3, 4)
    second.cancel()  # before his statement
    first.cancel()  # in the middle of his own
    assert await statements.began.get() == [1]
    assert await statements.began.get() == [3, 4]
    third.cancel()  # in the middle of one that he shares
    statements.open()
    assert await fourth == 8
    left = await asyncio.gather(first, second, third, return_exceptions=True)
    assert [type(each) for each in left] == [asyncio.CancelledError] * 3


@pytest.mark.usefixtures("patient")
async def test_when_all_who_waited_have_left_nothing_is_asked(
    statements: Statements, joined: Together[str, int, int]
) -> None:
    first, *others = await ask(joined, "a", 1, 2, 3)
    for task in others:
        task.cancel()
    statements.open()
    assert await first == 2
    await asyncio.gather(*others, return_exceptions=True)
    assert await joined.do("a", 4) == 8
    assert statements.done == [("a", [1]), ("a", [4])]


async def test_a_defect_is_told_to_whom_it_concerns(joined: Together[str, int, int]) -> None:
    async def one(key: str, item: int) -> int:
        await asyncio.sleep(0)
        raise NotFound(f"{key}{item}")

    async def many(key: str, items: Sequence[int]) -> Sequence[int]:
        raise ValueError("a defect")

    broken = Together(one, many)
    tasks = [asyncio.create_task(broken.do("a", item)) for item in (1, 2, 3)]
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(each) for each in errors] == ["a1", "a2", "a3"]
