"""How many are worked on at once, and who is alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class Places:
    """So many at once, each with a place of its own; who has to be alone has all of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = asyncio.Semaphore(count)
        self._taking_all = asyncio.Lock()

    @asynccontextmanager
    async def place(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait for it, and have it. Alone is who may take more than there is: a process may have
        died of it before."""
        async with AsyncExitStack() as taken:
            if alone:
                await taken.enter_async_context(self._taking_all)
            for _ in range(self._count if alone else 1):
                await taken.enter_async_context(self._free)
            yield
