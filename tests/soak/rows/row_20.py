"""Every way to write an address that leads inside, through every door that takes one."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import uuid4

import httpx2

from app.errors import AppError
from app.outgoing.fetch import Pages
from app.outgoing.guard import Guard
from tests.soak.deployment import deployment
from tests.soak.row import Row, Stage, at_least, at_most
from tests.support.hostile_urls import BESIDE, Canary, hostile, hostile_names, resolver
from tests.support.pages import PageServer, page

CLIENTS = 8
STATUSES = (301, 302, 303, 307, 308)
REFUSALS = ("invalid_input", "address_refused")
# The one host that a second replica may reach, so that there is a page to be redirected from.
OPEN = {"ALLOW_PRIVATE_HOSTS": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Scale:
    """How often all URLs, or one in `every`, go through each door, and how often a name changes."""

    rounds: int = 8
    names: int = 1000
    every: int = 1


@dataclass
class Doors:
    """A service as the operator of `url` leaves it, one with OPEN at `open_url`, and who listens
    where nobody is to come."""

    http: httpx2.AsyncClient
    url: str
    open_url: str
    canary: Canary
    counts: Counter[str] = field(default_factory=Counter)

    async def ask(self, method: str, path: str, body: Any, url: str = "") -> httpx2.Response:
        return await self.http.request(method, f"{url or self.url}{path}", json=body)


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    full, share = Scale(), stage.seconds / ROW.seconds
    scale = Scale(max(1, round(full.rounds * share)), max(100, round(full.names * share)))
    async with deployment(stage, replicas=1) as running:
        opened = await running.start_replica(**OPEN)
        async for figure in scenario(stage, running.http, running.urls[0], opened.url, scale):
            yield figure


async def scenario(
    stage: Stage, http: httpx2.AsyncClient, url: str, open_url: str, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """All doors one after another, each by several clients at once."""
    async with AsyncExitStack() as stack:
        doors = Doors(http, url, open_url, await stack.enter_async_context(Canary()))
        urls = hostile(doors.canary.port)[:: scale.every]
        yield "hostile URLs", len(set(urls))
        await _imports_and_agents(stage, doors, urls * scale.rounds)
        stage.say(f"{doors.counts['refused']} requests refused")
        await _names_of_this_machine(stage, doors)
        await _redirects(doors)
        await _names_that_lead_inside(doors)
        await _names_that_change(doors, scale.names)
        for name in (*COUNTED, *WRONG):
            yield name, doors.counts[name]
        yield "internal connections", doors.canary.connections
        await _prove(doors)
        yield "connections of a canary that may be reached", doors.canary.connections


async def _imports_and_agents(stage: Stage, doors: Doors, urls: Sequence[str]) -> None:
    """As a document to import, as a new agent's address, and as the new one of an old agent."""
    portfolio, agent = await _portfolio(doors, doors.url), await _agent(doors, None)
    left = iter(urls)

    async def client() -> None:
        for url in left:
            documents = {"documents": [{"title": "T", "text": "Text."}, {"url": url}]}
            made = {"name": _name(), "provider": "openai", "base_url": url}
            for method, path, body in (
                ("POST", f"/api/portfolios/{portfolio}/documents", documents),
                ("POST", "/api/agents", made),
                ("PATCH", f"/api/agents/{agent}", {"base_url": url}),
            ):
                answer = await doors.ask(method, path, body)
                if answer.status_code == 422 and answer.json()["code"] in REFUSALS:
                    doors.counts["refused"] += 1
                else:
                    doors.counts["answered otherwise"] += 1
                    stage.note(f"{method} {path} {url!r}: {answer.status_code} {answer.text}")

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
    listed = await doors.http.get(f"{doors.url}/api/portfolios/{portfolio}/documents")
    doors.counts["documents of refused calls"] += len(listed.json()["items"])


async def _names_of_this_machine(stage: Stage, doors: Doors) -> None:
    """What the system's own resolver says of it: agents keep such an address, which is refused
    once it is to be asked."""
    for name in {socket.gethostname(), socket.getfqdn(), "ip6-localhost", "localhost6"}:
        agent = await _agent(doors, f"https://{name}:{doors.canary.port}/v1")
        if agent is None:
            continue
        answer = await doors.ask("POST", f"/api/agents/{agent}/chat", {"message": "Who are you?"})
        doors.counts["questions at names of this machine"] += 1
        if answer.is_success:
            doors.counts["answered otherwise"] += 1
            stage.note(f"The agent at {name}: {answer.text[:200]}")


async def _redirects(doors: Doors) -> None:
    """From a page that may be fetched, and from a model's server that may be asked."""
    portfolio = await _portfolio(doors, doors.open_url)
    async with PageServer() as server:
        for status in STATUSES:
            inside = f"http://localhost:{doors.canary.port}/"
            answer = page(b"", "text/html", f"{status} Elsewhere", Location=inside)
            server.pages |= {"/": answer, "/v1/chat/completions": answer}
            documents = {"documents": [{"url": server.url()}]}
            path = f"/api/portfolios/{portfolio}/documents"
            refused = [await doors.ask("POST", path, documents, doors.open_url)]
            agent = await _agent(doors, server.url("/v1"), doors.open_url)
            path = f"/api/agents/{agent}/chat"
            asked = {"message": f"Who says {status}?"}
            refused.append(await doors.ask("POST", path, asked, doors.open_url))
            doors.counts["answered otherwise"] += sum(each.is_success for each in refused)
        doors.counts["redirects"] += len(server.requests)


async def _names_that_lead_inside(doors: Doors) -> None:
    """As their owners have them answered, in this process: a service asks the system."""
    pages = Pages(Guard(resolve=resolver), 1000)
    for url in hostile_names(doors.canary.port):
        try:
            await pages.fetch(url)
        except AppError as error:
            doors.counts["names that lead inside"] += error.code == "address_refused"


async def _names_that_change(doors: Doors, names: int) -> None:
    """Each leads to a page that may be fetched when it is resolved first, and then to a
    canary: at the same port of BESIDE, so that only the address tells them apart."""
    async with PageServer() as server, CanaryBeside(server.port) as beside:
        server.pages["/"] = page(b"first")

        async def fetch(number: int) -> None:
            asked = 0

            async def resolve(host: str, port: int) -> Sequence[str]:
                nonlocal asked
                asked += 1
                return ["127.0.0.1"] if asked == 1 else [BESIDE]

            name = f"name-{number}.example"
            found = await Pages(Guard([name], resolve), 1000).fetch(server.url(host=name))
            doors.counts["names that change"] += found.content == b"first"
            doors.counts["names resolved twice"] += asked != 1

        for start in range(0, names, CLIENTS):
            await asyncio.gather(*map(fetch, range(start, min(names, start + CLIENTS))))
    doors.counts["connections by a later answer"] += beside.connections


class CanaryBeside(Canary):
    """On BESIDE alone, at a port that is somebody else's on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    async def __aenter__(self) -> Self:
        self._servers = [await asyncio.start_server(self._accept, BESIDE, self.port)]
        return self


async def _prove(doors: Doors) -> None:
    """The canary is heard where it may be reached: it would have been before."""
    portfolio = await _portfolio(doors, doors.open_url)
    documents = {"documents": [{"url": f"http://127.0.0.1:{doors.canary.port}/"}]}
    path = f"/api/portfolios/{portfolio}/documents"
    await doors.ask("POST", path, documents, doors.open_url)


async def _portfolio(doors: Doors, url: str) -> int:
    return int((await doors.ask("POST", "/api/portfolios", {"name": _name()}, url)).json()["id"])


async def _agent(doors: Doors, base_url: str | None, url: str = "") -> int | None:
    """None where it is refused at once."""
    body = {"name": _name(), "provider": "openai", "base_url": base_url}
    answer = await doors.ask("POST", "/api/agents", body, url)
    return int(answer.json()["id"]) if answer.is_success else None


def _name() -> str:
    return f"outgoing-{uuid4().hex[:12]}"


COUNTED = (
    "refused",
    "questions at names of this machine",
    "redirects",
    "names that lead inside",
    "names that change",
)
WRONG = (
    "answered otherwise",
    "documents of refused calls",
    "names resolved twice",
    "connections by a later answer",
)
LIMITS = {
    "hostile URLs": at_least(150),
    "refused": at_least(3 * 150),
    "redirects": at_least(2 * len(STATUSES)),
    "names that lead inside": at_least(50),
    "names that change": at_least(100),
    **{each: at_most(0) for each in WRONG},
    "internal connections": at_most(0),
    "connections of a canary that may be reached": at_least(1),
}
ROW = Row(
    20,
    "No way inside",
    LIMITS,
    ("hostile URLs", "internal connections"),
    measure,
    seconds=120.0,
)
