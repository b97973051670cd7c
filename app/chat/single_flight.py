"""One call for all who want the same at once in a process."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from app.errors import Unavailable

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class SingleFlight(Generic[T]):
    """Calls on their way, by key. Whoever comes while one is on its way waits for that one, and
    gets what it returns or raises. It is cancelled when nobody waits for it any more, not before.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    async def join(self, key: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the call with this key gives. Unavailable where it was stopped by `close`, or
        cancelled itself."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(call(), name="shared call"))
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        flight.waiting += 1
        try:
            await asyncio.wait({flight.task})  # does not cancel what it waits for
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._remove(key, flight.task)  # who comes now is not to wait for its end
                flight.task.cancel()
        if flight.task.cancelled():
            raise Unavailable("This call was stopped; try again shortly.")
        return flight.task.result()

    def leave_behind(self, key: str) -> None:
        """Let whoever comes from now on begin a call of their own."""
        self._flights.pop(key, None)

    def is_newest(self, key: str) -> bool:
        """Whether the call that asks is the one that others join, and was not left behind."""
        flight = self._flights.get(key)
        return flight is not None and flight.task is asyncio.current_task()

    async def close(self) -> None:
        """Stop the calls that are on their way."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: str, task: asyncio.Task[T]) -> None:
        self._remove(key, task)
        if not task.cancelled():
            task.exception()  # seen, though nobody may be left to be told

    def _remove(self, key: str, task: asyncio.Task[T]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
