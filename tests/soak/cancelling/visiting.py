"""Fifty tenants' clients over HTTP, most of whom leave before they have their answer."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tests.soak.cancelling.tenants import Tenant
from tests.soak.visits import Visit

LEFT, ANSWERED, REFUSED, FOREIGN, ERRORS = "left", "answered", "refused", "foreign", "errors"
CLIENTS = 16
LEAVES = 0.8  # the share of clients
EXAMPLES = 10
QUESTIONS = 12  # of each tenant: some are answered from the cache


class Visitors:
    """Requests of every kind to one replica, until enough were left."""

    def __init__(
        self,
        url: str,
        tenants: Sequence[Tenant],
        chance: random.Random,
        longest_seconds: Callable[[], float],
        note: Callable[[str], None],
    ) -> None:
        """`longest_seconds`: how long an answer takes about now, within which it is left."""
        self._url = url
        self._tenants = tenants
        self._chance = chance
        self._longest = longest_seconds
        self._note = note
        self._runs: dict[str, str] = {}
        self.of: Counter[str] = Counter()

    async def until(self, left: int) -> None:
        """Go on until so many requests were left."""

        async def client() -> None:
            while self.of[LEFT] < left:
                await self._visit()

        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client())

    async def _visit(self) -> None:
        tenant = self._chance.choice(self._tenants)
        method, path, body = self._request(tenant)
        leaves = self._chance.random() < LEAVES
        async with Visit(self._url, method, path, body, tenant.headers) as visit:
            if leaves:
                answered = await visit.for_seconds(self._chance.uniform(0, self._longest()))
            else:
                await visit.to_end()
                answered = True
            if not answered:
                visit.leave(abruptly=self._chance.random() < 0.5)
        self.of[ANSWERED if answered else LEFT] += 1
        self._judge(tenant, f"{method} {path}", visit, answered)

    def _request(self, tenant: Tenant) -> tuple[str, str, Any]:
        asked = tenant.question(self._chance.randrange(QUESTIONS))
        chat = f"/api/agents/{tenant.agent_id}/chat"
        retrieve = {"query": asked, "portfolio_id": tenant.portfolio_id}
        documents = f"/api/portfolios/{tenant.portfolio_id}/documents"
        ways: list[tuple[str, str, Any]] = [
            ("POST", f"{chat}/stream", {"message": asked}),
            ("POST", f"{chat}/stream", {"message": asked, "cache": "off"}),
            ("POST", chat, {"message": asked}),
            ("POST", "/api/retrieve", retrieve),
            ("GET", "/api/conversations?limit=5", None),
            ("GET", "/api/portfolios", None),
            ("GET", documents, None),
            ("GET", f"/api/agents/{tenant.agent_id}", None),
        ]
        if run_id := self._runs.get(tenant.mark):
            ways.append(("GET", f"/api/runs/{run_id}/events", None))
        return self._chance.choice(ways)

    def _judge(self, tenant: Tenant, what: str, visit: Visit, answered: bool) -> None:
        """No other tenant's name in anything that came, its own in every answer that is whole; but
        a run may have been stopped before it said anything."""
        body = visit.body
        if what.endswith("/chat/stream") and visit.frames:
            self._runs[tenant.mark] = visit.events[0]["run_id"]
        if answered and visit.status == 503:  # no connection was free in time
            self.of[REFUSED] += 1
        elif answered and (visit.status or 500) >= 500:
            self.of[ERRORS] += 1
            self._note(f"{what}: {visit.status} {body[:200]!r}")
        foreign = tenant.marks_of_others(body)
        said = what.endswith("/events") or b'"items":[]' in body or tenant.owns(body)
        if foreign or (answered and visit.status == 200 and not said):
            self.of[FOREIGN] += 1
            if self.of[FOREIGN] <= EXAMPLES:
                self._note(f"{what} told {tenant.mark} of {sorted(foreign)}.")
