"""Tenants, agents and portfolios that are alike in everything but the marks one knows them by.

Each tenant has two agents on the same two portfolios, each of these a document for either of two
teams, and two members, of whom only one may read the second portfolio. Texts, titles and questions
are the same everywhere; prompts and documents carry a mark that stands nowhere else.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2

from app.embedded import Servers
from app.stores.database import Database
from app.stores.tenants import PgCredentials

TEAMS = ("web", "app")
# Everything is near everything: what keeps questions apart are the scopes and the guards.
THRESHOLD = 0.5
MARK = re.compile(r"\b(?:agent|shelf)\d+x\d+[a-z]*\b")
TEXT = (
    "Every dashboard was finished by {mark}. The dashboards were built in the years from 2019 on, "
    "and {mark} has a list of them all. Todos los paneles fueron terminados por {mark}."
)


@dataclass(frozen=True, slots=True)
class Scope:
    """From where a question is asked. `own` are the marks that its answers may carry, the first of
    which, the agent's, and at least one other they must."""

    name: str
    headers: Mapping[str, str]
    agent: int
    options: Mapping[str, Any]
    own: Sequence[str]
    language: str = "English"
    refused: bool = False  # whoever asks is on no list of the portfolio's

    def fits(self, marks: set[str]) -> bool:
        return marks <= set(self.own) and self.own[0] in marks and len(marks) > 1


@dataclass(frozen=True, slots=True)
class Member:
    """Of a tenant, with a key: how access lists name it, and what its requests bring."""

    subject: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class World:
    """A service that is asked by several tenants."""

    http: httpx2.AsyncClient
    urls: Sequence[str]
    scopes: list[Scope] = field(default_factory=list)

    async def add_tenant(self, number: int, key: str) -> None:
        """A tenant with everything, and the scopes that its questions can be asked in."""
        headers = {"Authorization": f"Bearer {key}"}
        shelves = [
            await self._post("/api/portfolios", headers, {"name": f"shelf-{uuid4().hex[:8]}"})
            for _ in range(2)
        ]
        for shelf, portfolio in enumerate(shelves):
            documents = [
                {
                    "title": "Dashboards",
                    "uri": f"soak:{team}",
                    "text": TEXT.format(mark=f"shelf{number}x{shelf}{team}"),
                    "metadata": {"team": team},
                }
                for team in TEAMS
            ]
            path = f"/api/portfolios/{portfolio}/documents?wait=true"
            added = await self.http.post(
                self.urls[0] + path, json={"documents": documents}, headers=headers
            )
            added.raise_for_status()
        listed, other = [await self._member(headers, name) for name in ("listed", "other")]
        changed = await self.http.patch(
            f"{self.urls[0]}/api/portfolios/{shelves[1]}",
            json={"readers": [listed.subject]},
            headers=headers,
        )
        changed.raise_for_status()
        for agent in range(2):
            mark = f"agent{number}x{agent}"
            body = {
                "name": f"agent-{uuid4().hex[:8]}",
                "portfolio_id": shelves[0],
                "provider": "openai",
                "system_prompt": f"You are {mark}.",
                "semantic_threshold": THRESHOLD,
            }
            made = await self._post("/api/agents", headers, body)
            self.scopes += _scopes(number, mark, made, shelves, listed, other)

    async def _member(self, headers: Mapping[str, str], name: str) -> Member:
        answer = await self.http.post(
            f"{self.urls[0]}/api/keys", json={"name": name, "role": "member"}, headers=headers
        )
        made = answer.raise_for_status().json()
        return Member(f"key:{made['id']}", {"Authorization": f"Bearer {made['key']}"})

    async def _post(self, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> int:
        answer = await self.http.post(self.urls[0] + path, json=body, headers=headers)
        return int(answer.raise_for_status().json()["id"])


def _scopes(
    tenant: int, mark: str, agent: int, shelves: Sequence[int], listed: Member, unlisted: Member
) -> list[Scope]:
    """All of one agent's: its own portfolio and another, with and without a filter, and asked to
    answer in Spanish; the other one also by who may not read it."""
    headers = unlisted.headers

    def on(shelf: int, *teams: str) -> list[str]:
        return [mark, *(f"shelf{tenant}x{shelf}{team}" for team in teams)]

    other = {"portfolio_id": shelves[1]}
    web, app = ({"filters": {"team": team}} for team in TEAMS)
    return [
        Scope(f"{mark}", headers, agent, {}, on(0, *TEAMS)),
        Scope(f"{mark}, other portfolio", listed.headers, agent, other, on(1, *TEAMS)),
        Scope(f"{mark}, not listed", headers, agent, other, [mark], refused=True),
        Scope(f"{mark}, web only", headers, agent, web, on(0, "web")),
        Scope(f"{mark}, app only", headers, agent, app, on(0, "app")),
        Scope(f"{mark}, other, web only", listed.headers, agent, other | web, on(1, "web")),
        Scope(f"{mark}, in Spanish", headers, agent, {"language": "es"}, on(0, *TEAMS), "Spanish"),
    ]


async def keys_of_tenants(servers: Servers, count: int) -> list[str]:
    """An API key each of so many new tenants."""
    database = await Database.open(servers.app_url, pool_size=1)
    try:
        credentials = PgCredentials(database)
        return [await credentials.create(f"tenant-{uuid4().hex[:8]}", "soak") for _ in range(count)]
    finally:
        await database.close()
