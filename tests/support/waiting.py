"""Waiting for what nobody tells: asked again after a pause, which leaves the processor to those who
are waited for."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

PAUSE_SECONDS = 0.01
# For asking another process, which is busy with starting.
LONG_PAUSE_SECONDS = 0.2


async def until(
    condition: Callable[[], bool | Awaitable[bool]],
    *,
    seconds: float = 30.0,
    pause: float = PAUSE_SECONDS,
) -> None:
    """Return once the condition is true. Raises TimeoutError after so many seconds."""
    async with asyncio.timeout(seconds):
        while not (await met if isawaitable(met := condition()) else met):  # noqa: ASYNC110
            await asyncio.sleep(pause)
