"""A whole installation on this machine's loopback, with everything in it at hand to be broken."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import psutil

from app.embedded import Servers
from app.embedded.home import open_home
from app.embedded.postgres import APP, DATABASE, OWNER, PORT, SUPERUSER, Postgres, url
from app.embedded.process import Child
from app.embedded.valkey import Valkey
from app.stores.migrate import upgrade
from app.stores.prepare import prepare
from tests.soak.encoders import bag_encoder, hash_encoder
from tests.soak.processes import Service, kill, service, stop
from tests.soak.provider import PacedProvider
from tests.soak.proxy import Proxy
from tests.soak.row import Stage

CLIENT_SECONDS = 120.0


@dataclass
class Deployment:
    """What runs, as `deployment` made it.

    `replicas` are `citestream serve` processes in the order of their start, at `urls`; killed ones
    keep their place. They reach the stores through `postgres` and `redis`, and `provider` is what
    agents with `provider="openai"` ask. `servers` are the stores' own addresses.
    """

    stage: Stage
    servers: Servers
    postgres: Proxy
    redis: Proxy
    provider: PacedProvider
    http: httpx2.AsyncClient
    variables: dict[str, str]
    _stack: AsyncExitStack
    _postgres: Postgres
    _valkey: Valkey
    replicas: list[Service] = field(default_factory=list)

    @property
    def urls(self) -> list[str]:
        return [each.url for each in self.replicas]

    @property
    def superuser_url(self) -> str:
        """For looking past row level security."""
        return self.servers.owner_url.replace(OWNER, SUPERUSER, 1)

    async def behind(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Run a statement as the superuser, past the proxy."""
        connection = await asyncpg.connect(self.superuser_url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *values)
            return rows
        finally:
            await connection.close()

    # --- replicas --------------------------------------------------------------------------------

    async def start_replica(self, **variables: str) -> Service:
        """One more, ready; `variables` on top of the deployment's."""
        started = await self._start(len(self.replicas), variables)
        self.replicas.append(started)
        return started

    async def start_replicas(self, count: int) -> None:
        """So many more, side by side."""
        first = len(self.replicas)
        async with asyncio.TaskGroup() as group:
            numbers = range(first, first + count)
            starting = [group.create_task(self._start(each, {})) for each in numbers]
        self.replicas += [each.result() for each in starting]

    async def _start(self, number: int, variables: Mapping[str, str]) -> Service:
        given = {**self.variables, **variables}
        starting = service(self.stage, f"api-{number}", "serve", **given)
        return await self._stack.enter_async_context(starting)

    async def kill_replica(self, number: int) -> None:
        """SIGKILL."""
        await kill(self.replicas[number].process)

    # --- stores ----------------------------------------------------------------------------------

    @property
    def redis_process(self) -> psutil.Process:
        return _process(self._valkey)

    @property
    def postgres_process(self) -> psutil.Process:
        """The one that the others, one for each connection, are children of."""
        return _process(self._postgres)

    def kill_redis(self) -> None:
        """SIGKILL; what it held is lost."""
        _child(self._valkey).kill()

    def stop_redis(self) -> None:
        """SIGSTOP: its connections stay, and nothing is answered."""
        self.redis_process.send_signal(signal.SIGSTOP)

    def continue_redis(self) -> None:
        self.redis_process.send_signal(signal.SIGCONT)

    async def start_redis(self) -> None:
        """Again after `kill_redis`; returns when it answers."""
        await self._valkey.start()

    def kill_postgres(self) -> None:
        """SIGKILL to all of its processes, as when a machine fails."""
        _signal(_tree(self._postgres), signal.SIGKILL)
        _child(self._postgres).process.wait()

    def kill_main_postgres(self) -> None:
        """SIGKILL to its main process alone; the others end when they notice."""
        child = _child(self._postgres)
        child.process.kill()
        child.process.wait()

    def stop_postgres(self) -> None:
        """SIGSTOP to all of its processes."""
        _signal(_tree(self._postgres), signal.SIGSTOP)

    def continue_postgres(self) -> None:
        _signal(_tree(self._postgres), signal.SIGCONT)

    async def start_postgres(self) -> None:
        """Again after `kill_postgres`; returns when it has recovered and accepts connections."""
        await self._postgres.start(self.stage.say)

    # --- what is in it ---------------------------------------------------------------------------

    async def portfolio(self, **texts: str) -> int:
        """A new portfolio with documents of these titles and texts, indexed."""
        name = f"portfolio-{uuid4().hex[:8]}"
        made = await self.json("POST", "/api/portfolios", json={"name": name})
        await self.add(made["id"], **texts)
        return int(made["id"])

    async def add(self, portfolio_id: int, **texts: str) -> list[int]:
        """Add documents, or replace them by their titles, and have them indexed; their ids."""
        documents = [
            {"title": title, "text": text, "uri": f"soak:{title}"} for title, text in texts.items()
        ]
        if not documents:
            return []
        path = f"/api/portfolios/{portfolio_id}/documents?wait=true"
        added = await self.json("POST", path, json={"documents": documents})
        if any(each["status"] != "indexed" for each in added["items"]):
            raise RuntimeError(f"Not indexed: {added['items']}")
        return [int(each) for each in added["ids"]]

    async def agent(self, portfolio_id: int | None, **values: Any) -> int:
        """A new agent, which asks `provider` unless the values say otherwise."""
        name = f"agent-{uuid4().hex[:8]}"
        body = {"name": name, "portfolio_id": portfolio_id, "provider": "openai", **values}
        return int((await self.json("POST", "/api/agents", json=body))["id"])

    async def json(self, method: str, path: str, **request: Any) -> Any:
        """What the first replica says; raises where that is no success."""
        answer = await self.http.request(method, f"{self.urls[0]}{path}", **request)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None


@asynccontextmanager
async def deployment(
    stage: Stage,
    *,
    replicas: int = 1,
    encoder: bool = False,
    through_proxies: bool = True,
    **variables: str,
) -> AsyncIterator[Deployment]:
    """Postgres, Valkey, a model's server and so many replicas, ready; all ends with the block.

    Without `encoder` there is one that knows no meaning, in this process, for documents only:
    questions are searched by words. With it, a `citestream encoder` of a small model serves. The
    default agent and portfolio are there. `variables` go to the replicas' environment.
    """
    async with AsyncExitStack() as stack:
        postgres, valkey, servers = await _stores(stage, stack)
        provider = await stack.enter_async_context(PacedProvider())
        proxies = [
            await stack.enter_async_context(Proxy(each))
            for each in (f"{postgres.sockets}/.s.PGSQL.{PORT}", str(valkey.socket))
        ]
        own = await (bag_encoder if encoder else hash_encoder)(stage, stack)
        await upgrade(servers.owner_url)
        named, dimension = own.pop("name"), int(own.pop("dimension"))
        await prepare(servers.owner_url, named, dimension)
        http = await stack.enter_async_context(_client())
        running = Deployment(
            stage,
            servers,
            *proxies,
            provider,
            http,
            {
                **_addresses(servers, proxies if through_proxies else None),
                "OPENAI_BASE_URL": provider.url,
                "OPENAI_API_KEY": "soak",
                "PORT": "0",
                **own,
                **variables,
            },
            stack,
            postgres,
            valkey,
        )
        async with beside(running, replicas) as served:
            yield served


@asynccontextmanager
async def beside(running: Deployment, replicas: int, **variables: str) -> AsyncIterator[Deployment]:
    """The same servers with so many replicas of its own, which end with the block; `variables` on
    top of the deployment's."""
    async with AsyncExitStack() as stack:
        given = {**running.variables, **variables}
        served = replace(running, variables=given, replicas=[], _stack=stack)
        await served.start_replicas(replicas)
        try:
            yield served
        finally:
            await asyncio.gather(*(stop(each.process) for each in served.replicas))


async def _stores(stage: Stage, stack: AsyncExitStack) -> tuple[Postgres, Valkey, Servers]:
    """What `app.embedded` starts, with the processes in our hands."""
    data, logs = stage.folder / "data", stage.folder / "log"
    for folder in (data, logs):
        folder.mkdir(mode=0o700)
    data.chmod(0o711 if os.geteuid() == 0 else 0o700)
    home = open_home(data)
    postgres, valkey = Postgres(home, logs), Valkey(home, logs)
    stack.callback(_stop, postgres)
    stack.callback(_stop, valkey)
    await asyncio.gather(postgres.start(stage.say), valkey.start())
    owner, app = url(OWNER, postgres.sockets), url(APP, postgres.sockets)
    return postgres, valkey, Servers(owner, app, valkey.url, None)


def _addresses(servers: Servers, proxies: Sequence[Proxy] | None) -> dict[str, str]:
    if proxies is None:
        return {"DATABASE_URL": servers.app_url, "REDIS_URL": servers.redis_url}
    postgres, redis = proxies
    address = f"127.0.0.1:{postgres.port}/{DATABASE}?sslmode=disable"
    return {
        "DATABASE_URL": f"postgresql://{APP}@{address}",
        "REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
    }


def _client() -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.AsyncClient(timeout=CLIENT_SECONDS, trust_env=False, limits=limits)


def _child(server: Postgres | Valkey) -> Child:
    """The process behind it, which nobody but us has a use for."""
    child = server._server
    if child is None:
        raise RuntimeError("It was never started.")
    return child


def _process(server: Postgres | Valkey) -> psutil.Process:
    return psutil.Process(_child(server).process.pid)


def _stop(server: Postgres | Valkey) -> None:
    """At the end: one that a scenario has left stopped could not end."""
    if server._server is not None and server._server.process.poll() is None:
        _signal(_tree(server), signal.SIGCONT)
    server.stop()


def _tree(server: Postgres | Valkey) -> list[psutil.Process]:
    process = _process(server)
    return [*process.children(recursive=True), process]


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(number)
