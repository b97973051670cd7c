"""Waiting for several tasks at once, for each no longer than it is given."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

# How long what was told to stop may take to clean up (a driver tells its server to) before the
# others go on without waiting for it.
GRACE_SECONDS = 0.05

Task: TypeAlias = asyncio.Task[Any]


class Deadlines:
    """Goes on without what does not stop when told to."""

    def __init__(self) -> None:
        # What did not stop; kept here so that it is not lost mid-way.
        self._stragglers: set[Task] = set()

    async def settle(self, tasks: Mapping[Task, float]) -> None:
        """Return when every task is done, or GRACE_SECONDS after its own deadline, which is given
        in seconds from now and which `asyncio.timeout` inside the task is to keep.

        What is not done by then is cancelled once more and left alone. Cancelling this cancels
        them all.
        """
        started = asyncio.get_running_loop().time()
        try:
            # In the order of their deadlines, so that none is waited for beyond its own.
            for task, seconds in sorted(tasks.items(), key=lambda item: item[1]):
                await self._until(task, started + seconds + GRACE_SECONDS)
        except asyncio.CancelledError:
            await self._stop(tasks)
            raise

    async def _until(self, task: Task, moment: float) -> None:
        if task.done():
            return
        left = moment - asyncio.get_running_loop().time()
        await asyncio.wait({task}, timeout=max(0.0, left))
        if not task.done():
            self._leave(task)

    async def _stop(self, tasks: Iterable[Task]) -> None:
        pending = {task for task in tasks if not task.done()}
        for task in pending:
            task.cancel()
        if pending:
            _, stubborn = await asyncio.wait(pending, timeout=GRACE_SECONDS)
            for task in stubborn:
                self._leave(task)

    def _leave(self, task: Task) -> None:
        task.cancel()
        self._stragglers.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: Task) -> None:
        self._stragglers.discard(task)
        if not task.cancelled():
            task.exception()  # seen, so that it is not logged as lost
