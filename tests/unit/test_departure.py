"""Work that is stopped when the client leaves, and only then."""

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from app.api.departure import while_connected

LATE = 2.0


class Client:
    """Leaves when it is told to; notes who looks out for it."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.watched = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        self.watched.set()
        await self.left.wait()
        return {"type": "http.disconnect"}


class Work:
    """Waits until it may end, and notes how it did."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.was_stopped = False

    async def __call__(self) -> str:
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.was_stopped = True
            raise
        return "done"


async def test_what_is_done_at_once_is_watched_by_nobody() -> None:
    client, work, before = Client(), Work(), asyncio.all_tasks()
    work.may_end.set()
    assert await while_connected(client.receive, work()) == "done"
    assert asyncio.all_tasks() == before
    assert not client.watched.is_set()


async def test_a_client_that_leaves_stops_the_work() -> None:
    client, work = Client(), Work()
    working = asyncio.create_task(while_connected(client.receive, work()))
    await asyncio.wait_for(client.watched.wait(), LATE)
    client.left.set()
    with pytest.raises(ClientDisconnect):
        await asyncio.wait_for(working, LATE)
    assert work.was_stopped
    assert working.cancelling() == 0


async def test_one_that_had_left_before_is_noticed() -> None:
    client, work = Client(), Work()
    client.left.set()
    with pytest.raises(ClientDisconnect):
        await asyncio.wait_for(while_connected(client.receive, work()), LATE)
    assert work.was_stopped


@pytest.mark.parametrize("is_watched", [True, False])
async def test_who_is_cancelled_by_others_is_cancelled(is_watched: bool) -> None:
    client, work = Client(), Work()
    working = asyncio.create_task(while_connected(client.receive, work()))
    if is_watched:
        await asyncio.wait_for(client.watched.wait(), LATE)
        client.left.set()  # both at once: the cancellation is not to be lost
    else:
        await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(working, LATE)
    assert work.was_stopped


async def test_work_that_ends_while_it_is_watched_leaves_nobody_behind() -> None:
    client, work, before = Client(), Work(), asyncio.all_tasks()
    working = asyncio.create_task(while_connected(client.receive, work()))
    await asyncio.wait_for(client.watched.wait(), LATE)
    work.may_end.set()
    assert await asyncio.wait_for(working, LATE) == "done"
    if left_over := asyncio.all_tasks() - before - {working}:
        _, pending = await asyncio.wait(left_over, timeout=LATE)
        assert not pending


async def test_an_error_of_the_work_is_its_own() -> None:
    async def fail() -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await while_connected(Client().receive, fail())
