"""A deadline that does not blame others for a busy event loop."""

import asyncio
import time

import pytest

from app.stores.patience import Patience


async def test_what_does_not_come_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        async with Patience(0.02):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_what_comes_is_waited_for() -> None:
    async with Patience(5):
        await asyncio.sleep(0)


async def test_a_loop_that_stood_still_is_no_reason() -> None:
    answer = asyncio.get_running_loop().create_future()

    async def answered() -> None:
        """What has come meanwhile takes the loop a few turns to be heard."""
        for _ in range(2):
            await asyncio.sleep(0)
        answer.set_result(None)

    async with Patience(0.02):
        asyncio.get_running_loop().call_soon(time.sleep, 0.1)
        task = asyncio.create_task(answered())
        await answer
    await task


async def test_a_cancellation_from_outside_stays_one() -> None:
    waiting = asyncio.Event()

    async def wait() -> None:
        async with Patience(60):
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_inside_is_told_as_it_is() -> None:
    with pytest.raises(ValueError, match="inside"):
        async with Patience(60):
            raise ValueError("inside")
