"""Saying which runs are alive, and ending those whose process is not."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

import structlog

from app.errors import AppError

log = structlog.get_logger(__name__)

# Twice within the time after which a run that nobody speaks for counts as dead; and with it, less
# than the thirty seconds within which such a run is marked.
BEAT_SECONDS = 5.0


class Lives(Protocol):
    """What is stored of which runs are alive."""

    async def keep_alive(self, run_ids: Sequence[UUID]) -> None:
        """Say that these runs are being produced."""
        ...

    async def interrupt_dead(self) -> int:
        """Mark the runs of processes that are gone as interrupted; how many there were."""
        ...


async def keep(
    lives: Lives, active: Callable[[], Sequence[UUID]], beat_seconds: float = BEAT_SECONDS
) -> None:
    """Go on until cancelled; a database that is away is waited for."""
    while True:
        try:
            if run_ids := active():
                await lives.keep_alive(run_ids)
            if count := await lives.interrupt_dead():
                log.warning("runs of a dead process interrupted", count=count)
        except AppError as error:
            log.warning("runs not kept", code=error.code)
        except Exception:  # whatever it is, the next look may succeed
            log.exception("runs not kept")
        await asyncio.sleep(beat_seconds)
