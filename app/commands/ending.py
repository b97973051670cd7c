"""What a signal ends: the server, or what is still starting it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Stoppable(Protocol):
    """What serves until it is told to stop."""

    def stop(self) -> None:
        """Begin to drain; a second call closes at once."""
        ...


class Ending:
    """Make it in the task that starts the server, and start within `awaited`."""

    def __init__(self) -> None:
        self._starting = asyncio.current_task()
        self._server: Stoppable | None = None
        self.came_early = False

    def serves(self, server: Stoppable) -> None:
        """From now on there is a server to stop."""
        self._server = server

    def stop(self) -> None:
        """Stop the server; without one, cancel what is on its way to it."""
        if self._server is not None:
            self._server.stop()
        elif self._starting is not None:
            self.came_early = True
            self._starting.cancel()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """A block that `stop` may end before there is a server: no failure, but `came_early`."""
        try:
            yield
        except asyncio.CancelledError:
            if not self.came_early or self._starting is None:
                raise
            self._starting.uncancel()
