"""What is noted of every run: how long its stages took, how it failed, and whether it was slow."""

from collections.abc import Callable, Mapping

import structlog

from app.chat.plan import Draft
from app.errors import AppError
from app.performance import PerformanceMonitor
from app.performance.stages import BETWEEN_TOKENS, CACHED_TOTAL, FIRST_TOKEN, TOTAL

log = structlog.get_logger(__name__)


class Measuring:
    """Tells the monitor of runs, and the log of those whose first token took longer than
    `slow_seconds` (of a cached answer: the whole)."""

    def __init__(self, monitor: PerformanceMonitor, slow_seconds: float) -> None:
        self._monitor = monitor
        self._slow_ms = slow_seconds * 1000

    def gaps(self) -> Callable[[int], None]:
        """To be told of the tokens of one answer, how many of them came together."""
        return self._monitor.gaps(BETWEEN_TOKENS)

    def over(self, draft: Draft, error: AppError | None) -> None:
        """A run has come to its end, whichever."""
        draft.stopwatch.mark(TOTAL)
        timings = draft.stopwatch.timings_ms
        self._monitor.observe(_by_stage(timings) if draft.cached else timings)
        if error is not None:
            self._monitor.error(TOTAL, error.code)
        waited = timings.get(FIRST_TOKEN, timings[TOTAL])
        if waited >= self._slow_ms:
            plan = draft.plan
            stages = {name: round(ms, 1) for name, ms in timings.items()}
            log.warning(
                "slow answer",
                run_id=str(plan.ids.run),
                agent_id=plan.agent.id,
                ms=round(waited, 1),
                stages=stages,
            )

    def paid(self, draft: Draft) -> None:
        """What was produced of an answer has come to its end, whichever, and whoever has it."""
        if not _was_produced(draft):
            return
        plan, usage = draft.plan, draft.counted_usage()
        self._monitor.tokens.spent(
            plan.agent.id,
            plan.provider.name,
            plan.provider.model,
            usage.prompt_tokens,
            usage.completion_tokens,
        )


def _was_produced(draft: Draft) -> bool:
    """Whether a model was paid for it: it was not found in a cache, or shared, or failed before."""
    return bool(draft.pieces) and not draft.cached and draft.leader is None


def _by_stage(timings: Mapping[str, float]) -> Mapping[str, float]:
    """A cached answer takes a hundredth of another one: their totals together say nothing."""
    return {CACHED_TOTAL if name == TOTAL else name: ms for name, ms in timings.items()}
