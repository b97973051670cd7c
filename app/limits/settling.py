"""Telling the ledger what answers have taken, behind them: nobody waits for it.

What comes while the ledger is being told goes with the next one; while it is away, it is kept.
"""

import asyncio
from collections.abc import Sequence

import structlog

from app.errors import Unavailable
from app.limits.ports import Ledger, Spent

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 1.0
# As the service stops: what is not told within this time is lost, as with a process that is killed.
CLOSE_SECONDS = 1.0


class Settling:
    """Of one process: `add` at any time, `run` in a task, `close` behind everything that adds."""

    def __init__(self, ledger: Ledger, again_seconds: float = AGAIN_SECONDS) -> None:
        self._ledger = ledger
        self._again_seconds = again_seconds
        self._waiting: list[tuple[int, Spent]] = []
        self._stirred = asyncio.Event()
        self._told = asyncio.Event()
        self._told.set()

    def add(self, tenant_id: int, spent: Spent) -> None:
        """Have this told soon."""
        self._waiting.append((tenant_id, spent))
        self._told.clear()
        self._stirred.set()

    async def run(self) -> None:
        """Go on until cancelled; a ledger that is away is told later."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._waiting:
                await self._tell()
            self._told.set()

    async def all_told(self) -> None:
        """Wait until nothing is left."""
        await self._told.wait()

    async def _tell(self) -> None:
        """One tenant's, those that wait."""
        tenant_id = self._waiting[0][0]
        spent: Sequence[Spent] = [each for tenant, each in self._waiting if tenant == tenant_id]
        try:
            await self._ledger.settle(tenant_id, spent)
        except Unavailable as error:
            log.warning("usage not told, kept for later", count=len(spent), code=error.code)
            await asyncio.sleep(self._again_seconds)
            return
        except Exception:  # a tenant that is gone, say: the others' must not wait for it
            log.exception("usage lost", count=len(spent))
        told = {each.id for each in spent}
        self._waiting = [each for each in self._waiting if each[1].id not in told]
