"""Another tenant, who has the id of a run that is not his."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from tests.soak.deployment import Deployment
from tests.soak.keys import new_key
from tests.soak.resuming.answers import Answers

ASKED = "requests for another tenant's run"
ANSWERED = "of which answered with more than 404"


class Strangers:
    """Counts what they are told, which must be what anybody is told of an id that is none."""

    def __init__(
        self, running: Deployment, key: str, answers: Answers, note: Callable[[str], None]
    ) -> None:
        self._running = running
        self._headers = {"Authorization": f"Bearer {key}"}
        self._answers = answers
        self._note = note
        self.of: Counter[str] = Counter()

    @classmethod
    async def of_a_new_tenant(
        cls, running: Deployment, answers: Answers, note: Callable[[str], None]
    ) -> "Strangers":
        key = await new_key(running, f"strangers-{uuid4().hex[:6]}")
        return cls(running, key, answers, note)

    async def try_all(self, home: int) -> None:
        """Every way, at both replicas, while the run goes on and when it is over."""
        async with self._answers.making(home) as making:
            await self._try(making.run_id)
            await making.first.to_end()
            await self._try(making.run_id)
        if making.first.events[-1]["type"] != "done":  # a stranger has stopped it
            self._wrong(f"the run ended with {making.first.frames[-1]!r}")

    async def _try(self, run_id: str) -> None:
        """Side by side: who asks for a run that is none is told so after a moment."""
        ways = [
            (method, f"{url}/api/runs", path)
            for url in self._running.urls
            for method, path in (("GET", "events"), ("GET", "events?after=2"), ("POST", "cancel"))
        ]
        await asyncio.gather(*(self._try_one(*way, run_id) for way in ways))

    async def _try_one(self, method: str, runs: str, path: str, run_id: str) -> None:
        told, unknown = await asyncio.gather(
            *(self._ask(method, f"{runs}/{each}/{path}") for each in (run_id, uuid4()))
        )
        self.of[ASKED] += 1
        if told != unknown or told[0] != 404:
            self._wrong(f"{method} {path}: {told}, but of no run {unknown}")

    async def _ask(self, method: str, url: str) -> tuple[int, Any]:
        answer = await self._running.http.request(method, url, headers=self._headers)
        if answer.status_code != 404:
            return answer.status_code, answer.content
        told = answer.json()
        return 404, {name: told.get(name) for name in ("code", "title", "detail")}

    def _wrong(self, what: str) -> None:
        self.of[ANSWERED] += 1
        self._note(f"Another tenant: {what}.")
