"""Servers that end by themselves are started again, as an operator's restart policy would."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from app.embedded.process import EmbeddedError

# Whoever asks meanwhile is told that the service is not available: nobody waits for longer than
# for the server's own start.
LOOK_SECONDS = 0.25
# Where it cannot start, as on a full disk.
AGAIN_SECONDS = 5.0

Say = Callable[[str], None]


class Guarded(Protocol):
    """A server as a child process."""

    name: str

    @property
    def is_running(self) -> bool: ...

    async def start(self, on_progress: Say) -> None:
        """Return when it is ready. Raises EmbeddedError or OSError."""
        ...


@asynccontextmanager
async def guarded(servers: Sequence[Guarded], say: Say) -> AsyncIterator[None]:
    """Within the block, start each of these again when it has ended, however often. `say` is told
    so, and why one does not start."""
    guarding = [asyncio.create_task(_guard(each, say)) for each in servers]
    try:
        yield
    finally:
        for each in guarding:
            each.cancel()
        await asyncio.gather(*guarding, return_exceptions=True)


async def _guard(server: Guarded, say: Say) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if server.is_running:
            continue
        say(f"{server.name} has ended; starting it again")
        try:
            await server.start(say)
        except (EmbeddedError, OSError) as error:
            say(str(error))
            await asyncio.sleep(AGAIN_SECONDS)
