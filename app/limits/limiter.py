"""Letting requests in: what each may have is counted for all processes in one round trip.

Whoever asked while the shared counters were away is counted by this process alone. A stream holds a
lease that this process keeps while it goes on, so that those of a process that was killed end.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

from app.chat.model import Scope
from app.errors import RateLimited
from app.limits.local import LocalCounts
from app.limits.ports import Counts
from app.limits.rules import Kind, Limits, Rule, Standing, error, headers, refusal, rules

# A lease outlives two beats that were missed; a process that is killed holds its streams as long.
LEASE_SECONDS = 30.0
BEAT_SECONDS = 10.0
# What is left to be told as the service stops takes a round trip; a server that hangs must not
# keep it from stopping.
CLOSE_SECONDS = 0.5


class Admission:
    """A request that was let in, or not: how its limits stand, and what it holds of them."""

    def __init__(
        self, limiter: "Limiter", tenant_id: int, standings: Sequence[Standing], lease: str,
        *, shared: bool,
    ) -> None:  # fmt: skip
        self.standings = standings
        self._limiter = limiter
        self._tenant_id = tenant_id
        self._lease = lease
        self._shared = shared
        refused = refusal(standings)
        self.error: RateLimited | None = error(refused) if refused else None
        self.refused_by: Kind | None = refused.rule.kind if refused else None
        self._streams = [] if refused else self._of("streams")
        self._tokens = [] if refused else self._of("tokens")
        limiter.begin(self._lease, self._tenant_id, self._streams)

    @property
    def headers(self) -> Mapping[str, str]:
        """What the caller is told of his limits."""
        return headers(self.standings)

    def leave(self) -> None:
        """Give the place among the streams back, once."""
        streams, self._streams = self._streams, []
        if streams:
            self._limiter.end(self._lease, self._tenant_id, streams)

    def spent(self, tokens: int) -> None:
        """Count what was used in the place of what was asked for, once."""
        asked, self._tokens = self._tokens, []
        changed = [replace(each, amount=tokens - each.amount) for each in asked]
        if any(each.amount for each in changed):
            self._limiter.adjust(self._tenant_id, changed, shared=self._shared)

    def _of(self, kind: Kind) -> list[Rule]:
        return [each.rule for each in self.standings if each.rule.kind == kind]


class Limiter:
    """Of one process. Close with `aclose()`."""

    def __init__(self, limits: Limits, shared: Counts | None, local: LocalCounts) -> None:
        """`shared` is None where this process can ask nobody else."""
        self.limits = limits
        self.refused: Counter[str] = Counter()
        self._shared = shared
        self._local = local
        self._open: dict[str, tuple[int, Sequence[Rule]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def streams(self) -> int:
        """How many places among the streams this process's callers hold."""
        return len(self._open)

    async def admit(
        self, scope: Scope, *, requests: int = 0, tokens: int = 0, streams: int = 0
    ) -> Admission:
        """Take so much of each for the caller, all of it or, where a limit leaves no room, nothing:
        the admission then has the error to be raised."""
        wanted = rules(self.limits, scope, requests=requests, tokens=tokens, streams=streams)
        tenant_id, lease = scope.tenant_id, uuid4().hex
        standings: Sequence[Standing] | None = None
        if wanted and self._shared is not None:
            standings = await self._shared.take(tenant_id, wanted, lease)
        shared = standings is not None
        if standings is None:
            standings = self._local.take(tenant_id, wanted)
        admission = Admission(self, tenant_id, standings, lease, shared=shared)
        if admission.refused_by is not None:
            self.refused[admission.refused_by] += 1
        return admission

    def begin(self, lease: str, tenant_id: int, streams: Sequence[Rule]) -> None:
        """For `Admission`: it holds a place among these."""
        if streams:
            self._open[lease] = tenant_id, streams
            self._local.begin(tenant_id, streams)

    def end(self, lease: str, tenant_id: int, streams: Sequence[Rule]) -> None:
        """For `Admission`: it gives its place back."""
        del self._open[lease]
        self._local.end(tenant_id, streams)
        if self._shared is not None:
            self.later(self._shared.end(tenant_id, streams, lease))

    def adjust(self, tenant_id: int, changed: Sequence[Rule], *, shared: bool) -> None:
        """For `Admission`: it has used more or less than was taken."""
        if not shared:
            self._local.adjust(tenant_id, changed)
        elif self._shared is not None:
            self.later(self._shared.adjust(tenant_id, changed))

    def later(
        self, work: Coroutine[Any, Any, None], then: Callable[[], None] | None = None
    ) -> None:
        """Do what nobody waits for, and then that."""
        task = asyncio.create_task(work, name="limits")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if then is not None:
            task.add_done_callback(lambda _: then())

    async def keep(self, beat_seconds: float = BEAT_SECONDS) -> None:
        """Keep the leases of the streams that go on, until cancelled."""
        while True:
            await asyncio.sleep(beat_seconds)
            await self.beat()

    async def beat(self) -> None:
        """Keep them once. Those that began while the shared counters were away are known there
        from then on."""
        if self._shared is None:
            return
        by_tenant: dict[int, dict[str, Sequence[Rule]]] = {}
        for lease, (tenant_id, streams) in self._open.items():
            by_tenant.setdefault(tenant_id, {})[lease] = streams
        for tenant_id, leases in by_tenant.items():
            await self._shared.keep(tenant_id, leases)

    async def aclose(self) -> None:
        """Tell what is left to be told."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        for task in self._tasks:
            task.cancel()
