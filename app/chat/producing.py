"""From a draft to a run: the task that fills a run's log, whatever happens.

An answer that several share goes on when whoever asked for it first has it cancelled: his run ends
there, and another that is nobody's, with the same log so far, goes on for the rest.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Protocol

import structlog

from app.chat.event_log import Encode
from app.chat.flights import heir_id
from app.chat.pipeline import Pipeline
from app.chat.plan import Draft, Plan
from app.chat.replay import failed
from app.chat.run import Run
from app.chat.runs import Runs
from app.errors import AppError, Interrupted, Unavailable

log = structlog.get_logger(__name__)

# How long readers of a broken-off answer wait until it is stored. It takes milliseconds; a database
# that hangs must not keep its end from them, least of all when the service is stopping.
STORING_SECONDS = 0.5
# Those who share a run that is handed over have found the heir within this time, or do not come.
FOLLOWING_SECONDS = 2.0
# No caller's subject.
NOBODY = ""


class Watcher(Protocol):
    """Told of every run of a process."""

    def began(self) -> None: ...

    def ended(self, plan: Plan, answered: bool) -> None:
        """As often as `began`; `answered` where the answer is whole, and stored."""
        ...


class Production:
    """One answer being made, and the run whose log it goes to just now."""

    def __init__(self, draft: Draft, run: Run) -> None:
        self.draft = draft
        self.run = run
        self.handing_over: asyncio.Task[None] | None = None


class Producer:
    """Begins runs of a process. `encode` makes the bytes that their readers over HTTP get, and
    `changed` is told of what is new of each."""

    def __init__(
        self, pipeline: Pipeline, runs: Runs, encode: Encode, changed: Callable[[Run], None]
    ) -> None:
        self._pipeline = pipeline
        self._runs = runs
        self._encode = encode
        self._changed = changed
        self._watcher: Watcher | None = None

    def watched_by(self, watcher: Watcher) -> None:
        """Tell it of every run from now on, before any has begun."""
        self._watcher = watcher

    def begin(self, draft: Draft, grace_seconds: float) -> Run:
        """The run of this draft. Unavailable while the service is stopping."""
        plan = draft.plan
        run = Run(plan.ids.run, plan.scope, grace_seconds, self._encode, self._changed)
        self._add(run)
        production = Production(draft, run)
        driving = asyncio.create_task(self._drive(production), name=f"run {run.id}")
        run.started_by(driving, partial(self._hand_over, production, driving))
        return run

    async def _drive(self, production: Production) -> None:
        """Produce into the run's log, and let go of what others waited for."""
        try:
            with production.draft.stopwatch.running():
                await self._drive_to_its_end(production)
        finally:
            if production.handing_over is not None:
                await asyncio.wait({production.handing_over})
            self._pipeline.land(production.draft, production.run.error)
            self._over(production.run, production.draft.plan)

    async def _drive_to_its_end(self, production: Production) -> None:
        """Produce; whatever happens, exactly one terminal event ends the log.

        Stopping reaches no further than the last token: what is stored after that, whole or
        partial, is stored undisturbed.
        """
        draft = production.draft
        error: AppError
        try:
            async with aclosing(self._pipeline.produce(draft)) as events:
                async for some in events:
                    production.run.extend(some)
            production.run.settle()
            done = await self._pipeline.complete(draft)
            production.run.is_stored = draft.owned
            production.run.append(done)
            self._runs.finish(production.run)
            return
        except asyncio.CancelledError:
            error = Interrupted()
        except AppError as caught:
            error = caught
            run_id = str(production.run.id)
            log.warning("run failed", run_id=run_id, code=error.code, cause=cause(error))
        except Exception:
            error = AppError()
            log.exception("run failed", run_id=str(production.run.id), code=error.code)
        await self._break_off(production.run, draft, error)

    async def _break_off(self, run: Run, draft: Draft, error: AppError) -> None:
        run.settle()
        keeping = asyncio.create_task(self._keep(run, draft, error))
        await asyncio.wait({keeping}, timeout=STORING_SECONDS)
        run.error = error
        run.append(failed(error))
        await keeping
        self._runs.finish(run)

    async def _keep(self, run: Run, draft: Draft, error: AppError) -> None:
        status = "interrupted" if isinstance(error, Interrupted) else "error"
        try:
            await self._pipeline.keep_partial(draft, status, error.code)
            run.is_stored = draft.owned
        except AppError as lost:
            log.warning("partial answer lost", run_id=str(run.id), code=lost.code)
        except Exception:
            log.exception("partial answer lost", run_id=str(run.id), code=error.code)

    def _hand_over(self, production: Production, driving: "asyncio.Task[None]") -> None:
        """From here on it is made for those who share it, and for nobody else."""
        run, draft = production.run, production.draft
        # Nobody's: who has cancelled it, and knows its id, must not stop it for the others.
        nobody = replace(run.scope, subject=NOBODY)
        heir = Run(heir_id(run.id), nobody, 0.0, self._encode, self._changed)
        try:
            self._add(heir)
        except Unavailable:  # everything is stopping
            driving.cancel()
            return
        heir.inherit(run)
        heir.started_by(driving)
        heir.attend(FOLLOWING_SECONDS)
        self._changed(heir)  # what there is of it must be there when it is looked for elsewhere
        production.run = heir
        left = draft.leave(heir.id)
        ending = asyncio.create_task(self._end(run, left, heir), name=f"run {run.id}")
        production.handing_over = ending
        run.started_by(ending)

    async def _end(self, run: Run, left: Draft, heir: Run) -> None:
        """End a run that was handed over. Who shares it looks for the heir when it has ended."""
        await self._pipeline.hand_over(left, heir.id)
        await self._break_off(run, left, Interrupted())
        self._over(run, left.plan)

    def _add(self, run: Run) -> None:
        self._runs.add(run)
        if self._watcher is not None:
            self._watcher.began()

    def _over(self, run: Run, plan: Plan) -> None:
        if self._watcher is not None:
            self._watcher.ended(plan, answered=run.finished and run.error is None)


def cause(error: AppError) -> str | None:
    """The class of what lies beneath an error: enough to find it, nothing that could be secret."""
    return type(error.__cause__).__name__ if error.__cause__ is not None else None
