"""Fifty tenants, each of whose texts names it: what one of them is told must name nobody else."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from app.chat.model import Scope
from app.stores.database import Database
from app.stores.tenants import PgCredentials
from tests.soak.deployment import Deployment
from tests.support.pg_stores import scope_of

MARK = re.compile(r"t\d\d-[0-9a-f]{6}")
NOTES = 3
# Of the texts that a tenant's questions and answers leave behind, those that name another, or none.
MISPLACED = """
SELECT (SELECT count(*) FROM messages m JOIN tenants t ON t.id = m.tenant_id
         WHERE t.name = ANY($1) AND m.content <> '' AND position(t.name IN m.content) = 0)
     + (SELECT count(*) FROM conversations c JOIN tenants t ON t.id = c.tenant_id
         WHERE t.name = ANY($1) AND position(t.name IN c.title) = 0)
"""


@dataclass(frozen=True, slots=True)
class Tenant:
    """`mark` is its name, and in all of its texts."""

    mark: str
    key: str
    scope: Scope
    portfolio_id: int
    agent_id: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def question(self, number: int) -> str:
        return f"What does note {number} say, asks {self.mark}?"

    def owns(self, text: str | bytes) -> bool:
        """Whether a text names this tenant and no other."""
        return marks(text) == {self.mark}

    def marks_of_others(self, text: str | bytes) -> set[str]:
        return marks(text) - {self.mark}


def marks(text: str | bytes) -> set[str]:
    return set(MARK.findall(text if isinstance(text, str) else text.decode(errors="replace")))


def reply(body: Mapping[str, Any]) -> Sequence[str]:
    """What the provider answers: whoever asks, and everyone that the prompt names."""
    question = body["messages"][-1]["content"]
    named = sorted({mark for each in body["messages"] for mark in marks(each["content"])})
    return [f"{question} ", "It ", "says ", "that ", "it ", "is ", "of ", *named, "."]


async def settle(running: Deployment, count: int) -> list[Tenant]:
    """So many new tenants, each with a key, a portfolio, notes in it and an agent."""
    database = await Database.open(running.servers.app_url)
    try:
        credentials = PgCredentials(database)
        return [await _settle(running, credentials, number) for number in range(count)]
    finally:
        await database.close()


async def misplaced(running: Deployment, tenants: Sequence[Tenant]) -> int:
    """How many stored texts are another tenant's than their row says."""
    [row] = await running.behind(MISPLACED, [each.mark for each in tenants])
    return int(row[0])


async def _settle(running: Deployment, credentials: PgCredentials, number: int) -> Tenant:
    mark = f"t{number:02}-{uuid4().hex[:6]}"
    key = await credentials.create(mark, "soak")
    scope = await scope_of(credentials, key)
    assert scope is not None
    headers = {"Authorization": f"Bearer {key}"}

    async def made(path: str, body: Any) -> Any:
        return await running.json("POST", path, json=body, headers=headers)

    portfolio = (await made("/api/portfolios", {"name": f"Notes of {mark}"}))["id"]
    documents = [
        {"title": f"Note {n} of {mark}", "text": f"Note {n} says that it is of {mark}."}
        for n in range(NOTES)
    ]
    await made(f"/api/portfolios/{portfolio}/documents?wait=true", {"documents": documents})
    body = {"name": f"Agent of {mark}", "portfolio_id": portfolio, "provider": "openai"}
    return Tenant(mark, key, scope, portfolio, (await made("/api/agents", body))["id"])
