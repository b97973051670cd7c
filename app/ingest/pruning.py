"""Keeping the store of vectors from growing for ever."""

from collections.abc import Callable

from app.ingest.ports import Vectors

# Removed at once: a few milliseconds of the worker's time.
BATCH = 2_000
# How often there is a look, and how soon again where more is left.
EVERY_SECONDS = 3600.0
AGAIN_SECONDS = 5.0


class Pruner:
    """Removes vectors that nobody uses any more. `clock` gives seconds and never goes back."""

    def __init__(self, vectors: Vectors, clock: Callable[[], float]) -> None:
        self._vectors = vectors
        self._clock = clock
        self._due = 0.0

    async def prune_when_due(self) -> None:
        """Remove one batch, if it is time to."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + EVERY_SECONDS  # also where this fails
        if await self._vectors.prune(BATCH) == BATCH:
            self._due = self._clock() + AGAIN_SECONDS
