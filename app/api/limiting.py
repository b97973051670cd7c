"""The limits of whoever sends a request: counting it, and telling him how he stands.

A request is counted once its caller is known: by `authenticate`, or for a question whose credential
is looked up with it, together with what its answer may take. Where nothing is limited, nothing of
this is asked.
"""

from fastapi import Request

from app.chat.elsewhere import AnyRun
from app.chat.model import Scope
from app.chat.ports import Demand, Reserve
from app.chat.run import Run
from app.limits.limiter import Admission, Limiter
from app.limits.rules import headers
from app.limits.spending import Reservation, Spending

# Reading a run is a stream as well; those of questions are counted with the question.
READING = "/api/runs/{run_id}/events"


class Limited:
    """What one request was let in with. `app.api.middleware.Edge` sends its headers, and tells it
    when the response is over, however that came."""

    def __init__(self, limiter: Limiter) -> None:
        self.run: AnyRun | None = None
        self._limiter = limiter
        self._admissions: list[Admission] = []

    @property
    def is_counted(self) -> bool:
        return bool(self._admissions)

    def take(self, admission: Admission) -> None:
        """Raises its error where it is none."""
        self._admissions.append(admission)
        if admission.error is not None:
            raise admission.error

    def headers(self) -> list[tuple[bytes, bytes]]:
        """For the response."""
        standings = [each for admission in self._admissions for each in admission.standings]
        return [
            (name.lower().encode(), value.encode()) for name, value in headers(standings).items()
        ]

    def over(self) -> None:
        """The response has ended. An answer that goes on being written, because its reader said
        that he comes back, keeps its place."""
        if isinstance(self.run, Run) and not self.run.finished:
            self._limiter.later(self.run.over(), self._leave)
        else:
            self._leave()

    def _leave(self) -> None:
        for admission in self._admissions:
            admission.leave()


async def count(request: Request, scope: Scope, limits: Spending) -> None:
    """Count a request whose caller is known. Raises RateLimited."""
    reading = getattr(request.scope.get("route"), "path", None) == READING
    admission = await limits.limiter.admit(scope, requests=1, streams=int(reading))
    _limited(request, limits).take(admission)


def reserving(request: Request, limits: Spending) -> Reserve:
    """Counts a question's request, unless that is done, its stream, and what its answer may take,
    all at once."""
    limited = _limited(request, limits)

    async def reserve(scope: Scope, demand: Demand) -> Reservation:
        admission = await limits.limiter.admit(
            scope,
            requests=0 if limited.is_counted else 1,
            tokens=demand.prompt_tokens + demand.completion_tokens,
            streams=1,
        )
        limited.take(admission)
        return await limits.set_aside(scope, demand, admission)

    return reserve


def is_counted(request: Request) -> bool:
    """Whether the request was counted, let in or not."""
    limited: Limited | None = getattr(request.state, "limited", None)
    return limited is not None and limited.is_counted


def hold(request: Request, run: AnyRun, limits: Spending) -> None:
    """Let the run keep its place among the caller's streams until it is over."""
    _limited(request, limits).run = run


def _limited(request: Request, limits: Spending) -> Limited:
    limited: Limited | None = getattr(request.state, "limited", None)
    if limited is None:
        limited = request.state.limited = Limited(limits.limiter)
    return limited
