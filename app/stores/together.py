"""One statement for what several ask of the database at the same time.

What a statement costs beside its rows, a round trip, a snapshot, a commit, is paid once for all
that came while the one before was under way; who is alone waits for nobody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from app.errors import DatabaseUnavailable

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

# A statement may wait for a lock, or its connection be gone: nobody waits longer for one that is
# not his own.
PATIENCE_SECONDS = 0.01
# Further ones go in a statement beside it: more would keep the first waiting for the last.
MOST = 16
ROLLED_BACK = "40"  # the class of deadlocks


class Together(Generic[Key, Item, Result]):
    """`one` does an item, `many` several of the same key, all or none and with their results in the
    same order. A key says on whose behalf: what belongs to two callers is never done together."""

    def __init__(
        self,
        one: Callable[[Key, Item], Awaitable[Result]],
        many: Callable[[Key, Sequence[Item]], Awaitable[Sequence[Result]]],
    ) -> None:
        self._one = one
        self._many = many
        self._groups: dict[Key, _Group[Item, Result]] = {}
        self._flights: set[asyncio.Task[None]] = set()

    async def do(self, key: Key, item: Item) -> Result:
        """The item's result, or its error: that of another one is not its own. Who is cancelled
        while others are with him does not stop them."""
        group = self._groups.get(key)
        if group is not None:
            return await self._wait(key, group, item)
        self._groups[key] = group = _Group()
        try:
            return await self._one(key, item)
        finally:
            self._landed(key, group)

    async def _wait(self, key: Key, group: "_Group[Item, Result]", item: Item) -> Result:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        group.waiting.append((item, future))
        if group.timer is None:
            group.timer = loop.call_later(PATIENCE_SECONDS, self._depart, key, group)
        return await future

    def _depart(self, key: Key, group: "_Group[Item, Result]") -> None:
        """With all who wait."""
        if group.timer is not None:
            group.timer.cancel()
            group.timer = None
        waiting = [each for each in group.waiting if not each[1].done()]  # else he was cancelled
        group.waiting = []
        for first in range(0, len(waiting), MOST):
            group.under_way += 1
            aboard = waiting[first : first + MOST]
            # Nobody's context: who waits may be of several requests.
            flight = asyncio.create_task(self._fly(key, group, aboard), context=Context())
            self._flights.add(flight)
            flight.add_done_callback(self._flights.discard)

    async def _fly(
        self, key: Key, group: "_Group[Item, Result]", aboard: "_Waiting[Item, Result]"
    ) -> None:
        try:
            if len(aboard) == 1:
                await self._alone(key, *aboard[0])
            else:
                await self._all(key, aboard)
        finally:
            for _, future in aboard:
                future.cancel()  # does nothing to those that are done: all, unless this was stopped
            self._landed(key, group)

    async def _all(self, key: Key, aboard: "_Waiting[Item, Result]") -> None:
        try:
            results = await self._many(key, [item for item, _ in aboard])
            landed = list(zip(aboard, results, strict=True))
        except Exception as error:
            if _is_the_servers(error):
                for _, future in aboard:
                    _fail(future, error)
            else:
                await asyncio.gather(*(self._alone(key, *each) for each in aboard))
            return
        for (_, future), result in landed:
            if not future.done():
                future.set_result(result)

    async def _alone(self, key: Key, item: Item, future: "asyncio.Future[Result]") -> None:
        try:
            result = await self._one(key, item)
        except Exception as error:
            _fail(future, error)
        else:
            if not future.done():
                future.set_result(result)

    def _landed(self, key: Key, group: "_Group[Item, Result]") -> None:
        group.under_way -= 1
        if group.waiting:
            self._depart(key, group)
        if group.under_way == 0:
            del self._groups[key]


_Waiting = list[tuple[Item, "asyncio.Future[Result]"]]


class _Group(Generic[Item, Result]):
    """Those of one key."""

    def __init__(self) -> None:
        self.waiting: _Waiting[Item, Result] = []
        self.under_way = 1
        self.timer: asyncio.TimerHandle | None = None


def _is_the_servers(error: Exception) -> bool:
    """Whether it is no item's: each of them would wait for the same once more."""
    state = getattr(error.__cause__, "sqlstate", None) or ""
    return isinstance(error, DatabaseUnavailable) and not state.startswith(ROLLED_BACK)


def _fail(future: "asyncio.Future[Result]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
