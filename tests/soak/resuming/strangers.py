"""Another tenant, who has the id of a run that is not his."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from app.stores.database import Database
from app.stores.tenants import PgCredentials
from tests.soak.deployment import Deployment
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
        database = await Database.open(running.servers.app_url)
        try:
            key = await PgCredentials(database).create(f"strangers-{uuid4().hex[:6]}", "soak")
        finally:
            await database.close()
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
        for url in self._running.urls:
            for method, path in (("GET", "events"), ("GET", "events?after=2"), ("POST", "cancel")):
                told = await self._ask(method, f"{url}/api/runs/{run_id}/{path}")
                unknown = await self._ask(method, f"{url}/api/runs/{uuid4()}/{path}")
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
