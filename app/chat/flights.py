"""One production for all who ask the same at once: the others follow the run that is at it.

A follower is a run of its own, with its own turn; what it says it takes from the leader's log. The
leader's log counts followers as readers, so it goes on when whoever asked it first has left.
"""

from uuid import UUID

from app.chat.model import Scope
from app.chat.runs import Run, Runs


class Flights:
    """Which run of this process produces the answer of which cache key."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._leaders: dict[str, UUID] = {}

    def join(self, scope: Scope, key: str, run_id: UUID) -> Run | None:
        """The run that is producing this answer; None where this one is to do it, and to `land`
        at its end."""
        leader = self._leaders.get(key)
        if leader is not None and leader != run_id:
            run = self._runs.find(scope, leader)
            if run is not None and run.error is None:
                return run
        self._leaders[key] = run_id
        return None

    def land(self, key: str, run_id: UUID) -> None:
        """The run has come to its end, whichever; its answer is in the cache if it is fit to be."""
        if self._leaders.get(key) == run_id:
            del self._leaders[key]
