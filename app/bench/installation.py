"""All that answers are measured with: servers, a provider, the service, and the yardstick."""

import asyncio
import os
import re
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import orjson
import psutil

from app.bench.library import Library, fill, make_table, questions
from app.bench.workers import Worker, WorkerFailed, worker
from app.embedded import Servers, embedded_servers
from app.encoder.backend import DEFAULT_MODEL
from app.encoder.client import EncoderClient
from app.stores.agents import PgAgents
from app.stores.database import Database
from app.stores.migrate import as_owner
from app.stores.tenants import PgCredentials

CHUNKS = 10_000
READY_SECONDS = 120
OURS, THEIRS = "ours", "baseline"
TENANT = "SELECT set_config('app.tenant_id', $1, false)"


@dataclass(frozen=True, slots=True)
class Program:
    """A process that answers questions on a port of 127.0.0.1."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """The processor's time that it has taken since its start, of all of its threads. Linux
        knows it in nanoseconds, others in hundredths of a second."""
        if sys.platform == "linux":
            threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
            return sum(int(each.read_text().split()[0]) for each in threads) / 1e9
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)


class Installation:
    """What is running, and the requests for it. Get one from `installation`."""

    def __init__(
        self,
        environment: Mapping[str, str],
        programs: Mapping[str, Program],
        provider: Worker,
        clients: Worker,
        agents: "Agents",
        folder: Path,
    ) -> None:
        """`environment` is what another process like ours is started with, in `folder`."""
        self.environment = environment
        self.programs = programs
        self.provider = provider
        self.clients = clients
        self.folder = folder
        self._agents = agents
        self.wrong = 0
        self._asked = 0

    def questions(self, number: int) -> list[str]:
        """So many that nobody has asked yet."""
        start, self._asked = self._asked, self._asked + number
        return questions(start, number)

    async def requests(
        self, name: str, messages: list[str], model: str, *, whole: bool = False
    ) -> list[str]:
        """The bytes that ask a program for streams, or of ours for whole answers."""
        if name == THEIRS:
            return [_post("/chat", {"message": each, "model": model}) for each in messages]
        agent, key = await self._agents.of_model(model), self._agents.key
        path = f"/api/agents/{agent}/chat" + ("" if whole else "/stream")
        return [_post(path, {"message": each}, key) for each in messages]

    async def ask(
        self, name: str, requests: list[str], clients: int, *, cached: bool = False
    ) -> dict[str, Any]:
        """What `app.bench.clients` says of them. Those that are cached and should not be, or the
        other way round, are counted in `wrong`."""
        task = {
            "do": "ask",
            "port": self.programs[name].port,
            "requests": requests,
            "clients": clients,
            "mark": mark(name, cached=cached),
        }
        outcome = await self.clients.ask(task)
        self.wrong += len(requests) - outcome["marked"]
        return outcome


class Agents:
    """An agent for each model that is asked for."""

    def __init__(self, database: Database, library: Library, key: str) -> None:
        self.key = key
        self._store = PgAgents(database)
        self._library = library
        self._made: dict[str, int] = {}

    async def of_model(self, model: str) -> int:
        if model not in self._made:
            values = {
                "name": f"bench {model}",
                "portfolio_id": self._library.portfolio,
                "provider": "openai",
                "model": model,
            }
            self._made[model] = (await self._store.create(self._library.scope, values)).id
        return self._made[model]


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
) -> AsyncIterator[Installation]:
    """Everything, started in the folder, with a portfolio of so many chunks. `cache` has models
    that were exported before; `variables` go to the service's environment. Raises EmbeddedError,
    WorkerFailed."""
    cache = cache or folder / "models"
    command = [sys.executable, "-m", "app.cli", "encoder", "--model", model, "--cache", str(cache)]
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(
            embedded_servers(folder / "data", encoder=command, on_progress=say)
        )
        provider = await stack.enter_async_context(worker("app.bench.provider"))
        address = (await provider.read())["url"]
        environment = {**_environment(servers, folder, address, model), **variables}
        await _migrate(environment, folder / "migrate.log")
        database = await Database.open(servers.app_url)
        stack.push_async_callback(database.close)
        agents = await _filled(database, servers, chunks, say)
        ours = await stack.enter_async_context(serving(environment, folder / "api.log"))
        arguments = (servers.app_url, servers.redis_url, address, model, str(cache))
        theirs = await stack.enter_async_context(_baseline(folder / "baseline.log", *arguments))
        clients = await stack.enter_async_context(worker("app.bench.clients"))
        programs = {OURS: ours, THEIRS: theirs}
        yield Installation(environment, programs, provider, clients, agents, folder)


async def _filled(
    database: Database, servers: Servers, chunks: int, say: Callable[[str], None]
) -> Agents:
    """A portfolio, the yardstick's table of the same chunks, and a key."""
    credentials = PgCredentials(database)
    key = await credentials.create("default", "bench")
    scope = await credentials.default_scope()
    assert servers.encoder_url is not None  # noqa: S101 — one was started
    began = time.perf_counter()
    async with await EncoderClient.connect(servers.encoder_url) as encoder:
        library = await fill(database, servers.owner_url, encoder, scope, chunks)
        dimension = encoder.dimension
    say(f"{library.chunks:,} chunks indexed in {time.perf_counter() - began:.0f} s")
    async with as_owner(servers.owner_url) as owner:
        await owner.execute(TENANT, str(scope.tenant_id))
        await make_table(owner, library.portfolio, dimension)
    return Agents(database, library, key)


@asynccontextmanager
async def serving(environment: Mapping[str, str], log: Path) -> AsyncIterator[Program]:
    """A `citestream serve` of its own, once it says that it is ready."""
    async with _process(environment, log, "-m", "app.cli", "serve") as process:
        yield Program(await _port(process, log), process.pid)


@asynccontextmanager
async def _baseline(log: Path, *arguments: str) -> AsyncIterator[Program]:
    async with _process(os.environ, log, "-m", "app.bench.baseline", *arguments) as process:
        yield Program(await _port(process, log), process.pid)


async def _migrate(environment: Mapping[str, str], log: Path) -> None:
    async with _process(environment, log, "-m", "app.cli", "migrate") as process:
        await process.communicate()
        if process.returncode:
            raise await _failed(log)


async def _port(process: Process, log: Path) -> int:
    """Of the address in the first line that it prints."""
    assert process.stdout is not None  # noqa: S101 — a pipe
    async with asyncio.timeout(READY_SECONDS):
        line = (await process.stdout.readline()).decode()
    found = re.search(r"http://[\w.:]+", line)
    if found is None:
        raise await _failed(log)
    port = urlsplit(found[0]).port
    assert port is not None  # noqa: S101 — both print theirs
    return port


async def _failed(log: Path) -> WorkerFailed:
    said = (await asyncio.to_thread(log.read_text, errors="replace")).strip().splitlines()
    return WorkerFailed(said[-1] if said else "A process ended without a word.")


@asynccontextmanager
async def _process(
    environment: Mapping[str, str], log: Path, *arguments: str
) -> AsyncIterator[Process]:
    with await asyncio.to_thread(log.open, "wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *arguments), env=environment, stdout=PIPE, stderr=errors
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def _environment(servers: Servers, folder: Path, provider: str, model: str) -> dict[str, str]:
    """This process's, with the servers and otherwise as it is shipped."""
    ours = ("CITESTREAM_", "DATABASE_", "REDIS_", "OPENAI_", "MISTRAL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {
        "DATABASE_URL": servers.app_url,
        "DATABASE_OWNER_URL": servers.owner_url,
        "REDIS_URL": servers.redis_url,
        "CITESTREAM_ENCODER__URL": servers.encoder_url or "",
        "CITESTREAM_ENCODER__MODEL": model,
        "CITESTREAM_DATA": str(folder),
        "OPENAI_BASE_URL": provider,
        "OPENAI_API_KEY": "bench",
        "PORT": "0",
    }


def _post(path: str, body: dict[str, Any], key: str | None = None) -> str:
    content = orjson.dumps(body).decode()
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(content.encode())}\r\n\r\n"
        f"{content}"
    )
