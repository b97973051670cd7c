"""All that answers are measured with: servers, a provider, the service, and the yardstick."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2

from app.bench.library import Clustered, Library, clustered, fill, make_table, questions
from app.bench.messages import post
from app.bench.processes import Program, as_shipped, migrate, running, serving
from app.bench.workers import Worker, worker
from app.embedded import Servers, embedded_servers
from app.encoder.backend import DEFAULT_MODEL
from app.encoder.client import EncoderClient
from app.stores.agents import PgAgents
from app.stores.database import Database
from app.stores.migrate import as_owner
from app.stores.tenants import PgCredentials

CHUNKS = 10_000
OURS, THEIRS = "ours", "baseline"
TENANT = "SELECT set_config('app.tenant_id', $1, false)"
# A vendor that is faster than its reader, with a short answer.
SHORT = "paced-0-0-64"


@dataclass(frozen=True, slots=True)
class Agents:
    """An agent on a portfolio for each model that is asked for."""

    database: Database
    library: Library
    key: str
    made: dict[str, int] = field(default_factory=dict)

    async def of_model(self, model: str) -> int:
        if model not in self.made:
            values = {
                "name": f"bench {model} on {self.library.portfolio}",
                "portfolio_id": self.library.portfolio,
                "provider": "openai",
                "model": model,
            }
            made = await PgAgents(self.database).create(self.library.scope, values)
            self.made[model] = made.id
        return self.made[model]

    async def requests(
        self,
        messages: Sequence[str],
        model: str = SHORT,
        *,
        whole: bool = False,
        conversations: Sequence[str] | None = None,
    ) -> list[str]:
        """The bytes that ask for streams, or for whole answers; each in its conversation where
        there are some."""
        path = f"/api/agents/{await self.of_model(model)}/chat" + ("" if whole else "/stream")
        bodies = [{"message": each} for each in messages]
        for body, conversation in zip(bodies, conversations or (), strict=False):
            body["conversation_id"] = conversation
        return [post(path, body, self.key) for body in bodies]


@dataclass(frozen=True, slots=True)
class Site:
    """A service with a database of its own."""

    servers: Servers
    environment: Mapping[str, str]
    agents: Agents
    program: Program

    async def statistics(self) -> dict[str, Any]:
        """What it says at /api/admin/stats. Raises httpx2's errors."""
        headers = {"Authorization": f"Bearer {self.agents.key}"}
        async with httpx2.AsyncClient(headers=headers) as http:
            answer = await http.get(f"http://127.0.0.1:{self.program.port}/api/admin/stats")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@dataclass(slots=True)
class Installation:
    """What is running, and the requests for it. Get one from `installation`."""

    site: Site
    provider: Worker
    clients: Worker
    folder: Path
    programs: dict[str, Program]
    wrong: int = 0
    asked: int = 0

    def questions(self, number: int) -> list[str]:
        """So many that nobody has asked yet."""
        start, self.asked = self.asked, self.asked + number
        return questions(start, number)

    async def requests(
        self, name: str, messages: list[str], model: str = SHORT, *, whole: bool = False
    ) -> list[str]:
        """The bytes that ask a program for streams, or ours for whole answers."""
        if name == THEIRS:
            return [post("/chat", {"message": each, "model": model}) for each in messages]
        return await self.site.agents.requests(messages, model, whole=whole)

    async def ask(
        self,
        name: str,
        requests: list[str],
        clients: int,
        *,
        cached: bool = False,
        expected: str | None = None,
    ) -> dict[str, Any]:
        """What `app.bench.clients` says of them. Those that are cached and should not be, or the
        other way round, are counted in `wrong`; or those without what is `expected` in them."""
        task = {
            "do": "ask",
            "port": self.programs[name].port,
            "requests": requests,
            "clients": clients,
            "mark": expected or mark(name, cached=cached),
        }
        outcome = await self.clients.ask(task)
        self.wrong += len(requests) - outcome["marked"]
        return outcome

    @contextmanager
    def joined(self, name: str, program: Program) -> Iterator[None]:
        """Another program to ask, meanwhile."""
        self.programs[name] = program
        try:
            yield
        finally:
            del self.programs[name]

    async def open(self, name: str, streams: int, opening: int, model: str) -> None:
        """So many streams of a program, left open: `opening` of them at a time on their way to
        their first token, behind which the provider holds them."""
        requests = await self.requests(name, self.questions(streams), model)
        task = {
            "do": "open",
            "port": self.programs[name].port,
            "requests": requests,
            "clients": opening,
            "mark": mark(name, cached=False),
        }
        await self.clients.ask(task)
        await self.provider.ask({"held": streams})


def mark(name: str, *, cached: bool) -> str:
    """What stands once in each answer of the right kind."""
    if name == THEIRS:
        return '"type":"done"'
    return f'"cached":{"true" if cached else "false"}'


@asynccontextmanager
async def installation(
    folder: Path,
    say: Callable[[str], None],
    *,
    chunks: int = CHUNKS,
    model: str = DEFAULT_MODEL,
    cache: Path | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
    encoder: Sequence[str] | None = None,
    yardstick: bool = True,
) -> AsyncIterator[Installation]:
    """Everything, started in the folder, with a portfolio of so many chunks. `cache` has models
    that were exported before; `variables` go to the service's environment; `encoder` is the
    command for the encoder where it is not as shipped. Raises EmbeddedError, WorkerFailed."""
    cache = cache or folder / "models"
    command = [sys.executable, "-m", "app.cli", "encoder", "--model", model, "--cache", str(cache)]
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(
            embedded_servers(folder / "data", encoder=encoder or command, on_progress=say)
        )
        provider = await stack.enter_async_context(worker("app.bench.provider"))
        address = (await provider.read())["url"]
        environment = {**as_shipped(servers, folder, address, model), **variables}
        assert servers.encoder_url is not None  # noqa: S101 — one was started
        async with await EncoderClient.connect(servers.encoder_url) as client:
            subjects = await clustered(client)
        site = await stack.enter_async_context(
            open_site(servers, environment, folder / "api", chunks, say, subjects)
        )
        programs = {OURS: site.program}
        if yardstick:
            arguments = (servers.app_url, servers.redis_url, address, model, str(cache))
            programs[THEIRS] = await stack.enter_async_context(_baseline(site, folder, *arguments))
        clients = await stack.enter_async_context(worker("app.bench.clients"))
        yield Installation(site, provider, clients, folder, programs)


@asynccontextmanager
async def open_site(
    servers: Servers,
    environment: Mapping[str, str],
    folder: Path,
    chunks: int,
    say: Callable[[str], None],
    encoder: Clustered,
) -> AsyncIterator[Site]:
    """A service in this environment, its database migrated and filled with so many chunks; its logs
    are left in the folder."""
    await asyncio.to_thread(folder.mkdir)
    await migrate(environment, folder / "migrate.log")
    database = await Database.open(servers.app_url)
    try:
        credentials = PgCredentials(database)
        key = await credentials.create("default", "bench")
        scope = await credentials.default_scope()
        began = time.perf_counter()
        library = await fill(database, servers.owner_url, encoder, scope, chunks)
        say(f"{library.chunks:,} chunks indexed in {time.perf_counter() - began:.0f} s")
        async with serving(environment, folder / "api.log") as program:
            yield Site(servers, environment, Agents(database, library, key), program)
    finally:
        await database.close()


@asynccontextmanager
async def _baseline(site: Site, folder: Path, *arguments: str) -> AsyncIterator[Program]:
    """The yardstick, with a table of the same chunks."""
    library = site.agents.library
    async with as_owner(site.servers.owner_url) as owner:
        await owner.execute(TENANT, str(library.scope.tenant_id))
        await make_table(owner, library.portfolio, library.encoder.dimension)
    log = folder / "baseline.log"
    async with running(log, "-m", "app.bench.baseline", *arguments) as program:
        yield program
