"""The callers of the route matrix, and what becomes of its cases."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx2

from tests.support.live import Remote, unique
from tests.support.matrix import QUESTION, Case, Objects

CALLERS = ("owner", "ally", "stranger", "anonymous", "revoked")
OTHERS = CALLERS[1:]
TEXT = "Atlas is a dashboard built with React. It was finished in 2021 by Ana Ruiz."


@dataclass(frozen=True)
class World:
    """Five callers of one service; each has an agent of its own where it may have one."""

    callers: dict[str, Remote]
    own_agents: dict[str, int]
    kept: list[Objects] = field(default_factory=list)

    async def objects_for(self, case: Case) -> Objects:
        """The owner's: new ones for what its request takes away."""
        if case.method == "DELETE":
            return await self.objects()
        if not self.kept:
            self.kept.append(await self.objects())
        return self.kept[0]

    async def objects(self) -> Objects:
        """New ones of the owner's."""
        owner = self.callers["owner"]
        portfolio = await owner.portfolio(unique("docs"), Atlas=TEXT)
        agent = await owner.agent(unique("agent"), portfolio, provider="extractive")
        page = await owner.json("GET", f"/api/portfolios/{portfolio}/documents")
        answer = await owner.ask(agent, QUESTION["message"])
        user = {"email": f"{unique('person')}@example.com", "role": "member"}
        key = {"name": unique("key"), "role": "member"}
        objects = Objects(
            agent_id=agent,
            portfolio_id=portfolio,
            document_id=page["items"][0]["id"],
            conversation_id=answer["conversation_id"],
            run_id=answer["run_id"],
            user_id=(await owner.json("POST", "/api/users", 201, json=user))["id"],
            key_id=(await owner.json("POST", "/api/keys", 201, json=key))["id"],
        )
        await owner.json("PATCH", f"/api/portfolios/{portfolio}", json={"readers": []})
        return objects

    async def send(self, caller: str, case: Case, objects: Objects) -> httpx2.Response:
        ids = {**asdict(objects), "own_agent_id": self.own_agents.get(caller, 1)}
        body = case.body(objects) if case.body else None
        if body and "name" in body:
            body["name"] = unique(caller)
        if body and "email" in body:
            body["email"] = f"{unique(caller)}@example.com"
        request: dict[str, Any] = {"json": body} if body is not None else {}
        if case.query:
            request["params"] = case.query(objects)
        http = self.callers[caller].http
        return await http.request(case.method, case.path.format(**ids), **request)


@asynccontextmanager
async def world_of(url: str, keys: Mapping[str, str]) -> AsyncIterator[World]:
    """The callers of the service at `url`; `keys` are those of two tenants' owners, by caller."""
    async with AsyncExitStack() as stack:

        async def caller(headers: dict[str, str]) -> Remote:
            http = httpx2.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False)
            return Remote(url, await stack.enter_async_context(http))

        callers = {name: await caller(bearer(key)) for name, key in keys.items()}
        for name, role in (("ally", "member"), ("revoked", "owner")):
            body = {"name": name, "role": role}
            made = await callers["owner"].json("POST", "/api/keys", 201, json=body)
            callers[name] = await caller(bearer(made["key"]))
        await callers["owner"].json("DELETE", f"/api/keys/{made['id']}", 204)
        # From behind a proxy: the server's own machine would be the owner of the default tenant.
        callers["anonymous"] = await caller({"X-Forwarded-For": "203.0.113.9"})
        own = {
            name: await callers[name].agent(unique(name), None, provider="extractive")
            for name in ("owner", "stranger")
        }
        yield World(callers, {**own, "ally": own["owner"]})


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@dataclass(frozen=True)
class Told:
    """What the callers got of one case: statuses, and who was told of an object that is not his."""

    statuses: Mapping[str, int]
    leaks: Sequence[str]


async def play(world: World, case: Case) -> Told:
    """The case by each caller; the owner last: what others have tried has changed nothing."""
    objects = await world.objects_for(case)
    statuses, leaks = {}, []
    for caller in (*OTHERS, "owner"):
        response = await world.send(caller, case, objects)
        statuses[caller] = response.status_code
        if caller in OTHERS and response.status_code < 400 and shown(response, objects):
            leaks.append(f"{caller}: {response.text[:200]}")
    return Told(statuses, leaks)


def expected(case: Case) -> dict[str, int]:
    return {caller: getattr(case, caller) for caller in CALLERS}


def shown(response: httpx2.Response, objects: Objects) -> set[str]:
    """Which of the owner's objects an answer to somebody else tells of."""
    if response.headers.get("content-type") != "application/json":
        return set()
    listed = response.json().get("items", ())
    names = {"conversation_id", "run_id"}
    ids = {str(value) for name, value in asdict(objects).items() if name in names}
    found = {str(each.get("id")) for each in listed} & ids
    return found | ({TEXT} if TEXT in response.text else set())
