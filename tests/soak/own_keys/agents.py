"""Agents with keys of their own, as their administrators and their users meet them."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2

from tests.soak.deployment import Deployment
from tests.soak.own_keys.ears import Ear, new_key
from tests.soak.row import Stage

MOST_TOLD = 5


@dataclass
class Office:
    """Whoever administers them: what was done, and all that the service has said."""

    running: Deployment
    chance: random.Random
    counts: Counter[str]
    stage: Stage
    said: list[str] = field(default_factory=list)

    async def send(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        """To either replica."""
        url = self.chance.choice(self.running.urls)
        response = await self.running.http.request(method, f"{url}{path}", json=body)
        self.said.append(response.text)
        return response

    async def new(self, home: Ear, key: str | None = None) -> tuple[int, str]:
        """An agent with a key for this server; both."""
        key = key or new_key()
        body = {
            "name": uuid4().hex, "provider": "openai", "base_url": home.url, "api_key": key,
        }  # fmt: skip
        made = await self.send("POST", "/api/agents", body)
        if made.status_code != 201:
            raise RuntimeError(made.text)
        return int(made.json()["id"]), key

    async def change(self, agent: int, **values: Any) -> bool:
        """Whether it was done."""
        response = await self.send("PATCH", f"/api/agents/{agent}", values)
        return self._went(response)

    async def ask(self, agent: int, message: str) -> int:
        """The status, by either path; 502 also where the stream says that it failed."""
        way = self.chance.choice(["", "/stream"])
        body = {"message": message, "cache": "off"}
        response = await self.send("POST", f"/api/agents/{agent}/chat{way}", body)
        failed = response.status_code == 200 and '"type":"error"' in response.text
        return 502 if failed else response.status_code

    async def answered(self, agent: int, message: str) -> bool:
        status = await self.ask(agent, message)
        if status != 200:
            self.failed(f"Asking was answered with {status}: {self.said[-1]}")
        return status == 200

    async def state(self, agent: int) -> str:
        shown = await self.send("GET", f"/api/agents/{agent}")
        return str(shown.json()["api_key_state"])

    def failed(self, why: str) -> None:
        """A request that should not have; the first few are told below the table."""
        self.counts["requests that failed"] += 1
        if self.counts["requests that failed"] <= MOST_TOLD:
            self.stage.note(" ".join(why.split())[:300])

    def _went(self, response: httpx2.Response) -> bool:
        if response.is_error:
            self.failed(f"{response.request.method}: {response.status_code} {response.text}")
        return not response.is_error


async def side_by_side(count: int, work: Callable[[int], Any]) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(work(number))
