"""The runs of a process: those that go on, and the latest of those that are over."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from app.chat.model import Scope
from app.chat.run import Run
from app.errors import Unavailable

# Finished runs kept for readers that come back; the stored message answers after that.
KEPT_FINISHED_RUNS = 256


class Runs:
    """The runs of this process, by id."""

    def __init__(self) -> None:
        self._active: dict[UUID, Run] = {}
        self._finished: OrderedDict[UUID, Run] = OrderedDict()
        self._closed = False

    def add(self, run: Run) -> None:
        """Take a run in, in the place of one that was given up for dead and is begun again;
        Unavailable once `close` was called, as nobody would end it."""
        if self._closed:
            raise Unavailable("The service is stopping; try again shortly.")
        former = self._active.get(run.id)
        self._active[run.id] = run
        if former is not None:
            former.cancel()

    def finish(self, run: Run) -> None:
        """Move a run to the finished ones, of which the latest are kept."""
        if self._active.get(run.id) is not run:
            return
        del self._active[run.id]
        self._finished[run.id] = run
        if len(self._finished) > KEPT_FINISHED_RUNS:
            self._finished.popitem(last=False)

    def find(self, scope: Scope, run_id: UUID) -> Run | None:
        """The run; None when it is unknown here, forgotten or somebody else's."""
        run = self.shared(scope.tenant_id, run_id)
        return run if run is not None and scope.may_read(run.scope) else None

    def shared(self, tenant_id: int, run_id: UUID) -> Run | None:
        """The run, whoever of the tenant asked: for answers that several wait for."""
        run = self._active.get(run_id) or self._finished.get(run_id)
        return run if run is not None and run.scope.tenant_id == tenant_id else None

    @property
    def active(self) -> Sequence[UUID]:
        """Those that are being produced."""
        return list(self._active)

    async def close(self) -> None:
        """Refuse new runs, stop every active one, and wait until each has stored what it had and
        ended."""
        self._closed = True
        active = list(self._active.values())
        for run in active:
            run.stop()
        await asyncio.gather(*(run.stopped() for run in active))
