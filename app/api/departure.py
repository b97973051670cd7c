"""Noticing that a client has left while it is being answered."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from starlette.requests import ClientDisconnect
from starlette.types import Receive

Result = TypeVar("Result")

# What is answered sooner needs nobody to look out, and a task to do so costs as much as finding a
# cached answer. A client that left before is noticed then.
HEAD_START_SECONDS = 0.01


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled when the client leaves; then ClientDisconnect.

    To be called once the request's body has been read: it receives what comes after.
    """
    lookout = _Lookout(receive)
    try:
        return await work
    except asyncio.CancelledError:
        if lookout.has_cancelled_alone():
            raise ClientDisconnect from None
        raise
    finally:
        lookout.end()


class _Lookout:
    """Cancels the task that has made it when the client leaves, unless it was ended before."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._working = cast("asyncio.Task[Any]", asyncio.current_task())
        self._cancelling = self._working.cancelling()
        self._looking: asyncio.Task[None] | None = None
        self._left = False
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HEAD_START_SECONDS, self._begin)

    def has_cancelled_alone(self) -> bool:
        """Whether the client's leaving was all that cancelled the task."""
        return self._left and self._working.cancelling() <= self._cancelling + 1

    def end(self) -> None:
        self._timer.cancel()
        if self._left:
            self._working.uncancel()
        if self._looking is not None:
            self._looking.remove_done_callback(self._over)
            self._looking.cancel()

    def _begin(self) -> None:
        self._looking = asyncio.create_task(_departure(self._receive))
        self._looking.add_done_callback(self._over)

    def _over(self, looking: "asyncio.Task[None]") -> None:
        self._left = True
        self._working.cancel()


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
