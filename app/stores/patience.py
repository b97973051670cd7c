"""A deadline that does not blame others for what this process was too busy to hear."""

import asyncio
from types import TracebackType
from typing import cast

# The timer has to come round this many times. While the event loop is busy it does not turn, and
# an answer that has long arrived is read before the next turn.
TURNS = 10


class Patience:
    """`async with Patience(seconds)`: TimeoutError after that time, as with `asyncio.timeout`;
    later where the event loop stood still meanwhile."""

    def __init__(self, seconds: float) -> None:
        self._slice = seconds / TURNS
        self._left = TURNS
        self._expired = False

    async def __aenter__(self) -> None:
        self._task = cast("asyncio.Task[object]", asyncio.current_task())
        self._cancelling = self._task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(self._slice, self._turn)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        # Cancelled by somebody else as well, it is theirs.
        ours = self._expired and self._task.uncancel() <= self._cancelling
        if ours and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def _turn(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = asyncio.get_running_loop().call_later(self._slice, self._turn)
        else:
            self._expired = True
            self._task.cancel()
