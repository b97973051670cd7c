"""`citestream bench cache`: a cached answer over HTTP, beside a route that only looks one up.

The API is a `citestream serve` on servers of its own; the bare route (`app.bench.bare_route`) has
the same servers, event loop and uvicorn. One client asks them in turns, in an order of chance, and
reads each answer to its end. All that the bare route does is to read, so what is compared with it
is a stream to its last token. The turn is stored behind that, before the end is sent, as a bare
route never does: for this there is a limit of its own. What is stored is counted afterwards.
"""

import asyncio
import os
import random
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import orjson
from redis.asyncio import Redis

from app.bench import bare_route
from app.bench.figures import Figure
from app.bench.requests import Connection, connection, get, post
from app.bench.workers import WorkerFailed, worker
from app.embedded import Servers, embedded_servers
from app.stores.migrate import as_owner

REQUESTS = 400  # of each kind, in each round
TIMES_BARE, STORED_MS = 2.0, 5.0
READY_SECONDS = 120
TOKEN = b'"type":"token"'
BARE, WHOLE, STREAM, SAID = "bare", "whole", "stream", "said"

QUESTION = "Which projects use React, and who finished them?"
DOCUMENTS = [
    {"title": f"Project {name}", "uri": f"bench:{name}", "text": text}
    for name, text in {
        "Atlas": "Atlas is a dashboard built with React. Ana Ruiz finished it in 2021.",
        "Borea": "Borea draws maps with React and Postgres. Bo Lindt finished it in 2022.",
        "Ceres": "Ceres is a shop built with Vue. It was finished in 2023 by Carla Diaz.",
        "Delos": "Delos is a React application for bookings. Dan Brown finished it in 2024.",
    }.items()
]
NAMES = {
    SAID: "cached stream to its last token",
    STREAM: "cached stream to its end, the turn stored",
    WHOLE: "cached answer whole, the turn stored",
}
TABLE = (
    "CREATE TABLE bench_agent (id bigint PRIMARY KEY, name text, prompt text, version bigint)",
    "INSERT INTO bench_agent SELECT id, name, system_prompt, version FROM agents",
    "GRANT SELECT ON bench_agent TO PUBLIC",
)
STORED = "SELECT count(*) FROM runs WHERE cached AND status = 'complete'"
TENANT = "SELECT set_config('app.tenant_id', id::text, false) FROM tenants WHERE name = 'default'"


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked: a connection, the request, and what an answer of the right kind contains.
    `mark` is in each piece of it that says something."""

    connection: Connection
    request: bytes
    expected: bytes
    mark: bytes = b""


@dataclass(slots=True)
class Measured:
    """Milliseconds by kind, a list for each round; and the answers that were not cached."""

    rounds: list[dict[str, list[float]]] = field(default_factory=list)
    wrong: int = 0
    asked: int = 0

    def medians(self, kind: str) -> list[float]:
        return [median(times[kind]) for times in self.rounds]

    def high(self, kind: str) -> list[float]:
        return [quantiles(times[kind], n=100)[98] for times in self.rounds]


async def bench_cache(
    rounds: int, folder: Path, say: Callable[[str], None], requests: int = REQUESTS
) -> list[Figure]:
    """Measure on servers in the folder. Raises EmbeddedError, WorkerFailed."""
    command = [sys.executable, "-m", "app.cli", "encoder", "--backend", "torch"]
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(
            embedded_servers(folder / "data", encoder=command, on_progress=say)
        )
        api = await stack.enter_async_context(_api(servers, folder))
        agent, answer = await _prepared(api)
        bare = await stack.enter_async_context(_bare(servers, answer))
        targets = await _targets(stack, api, bare, agent)
        measured = Measured()
        for number in range(rounds + 1):
            times = await _round(targets, requests, measured)
            if number:  # the first warms everything up
                measured.rounds.append(times)
                told = ", ".join(f"{kind} {median(each):.2f} ms" for kind, each in times.items())
                say(f"round {number} of {rounds}: {told}")
        async with as_owner(servers.owner_url) as owner:
            await owner.execute(TENANT)
            stored = await owner.fetchval(STORED)
    return figures(measured, stored)


def figures(measured: Measured, stored: int) -> list[Figure]:
    """`stored` is how many turns of cached answers the database has."""
    bare = measured.medians(BARE)
    made = [Figure("a Redis GET and a Postgres SELECT, bare route: p50", "ms", bare)]
    for kind, name in NAMES.items():
        times = measured.medians(kind)
        ratios = [ours / theirs for ours, theirs in zip(times, bare, strict=True)]
        said = kind == SAID
        made += [
            Figure(f"{name}: p50", "ms", times, None if said else STORED_MS),
            Figure(f"{name}: p99", "ms", measured.high(kind)),
            Figure(f"{name}: p50 / bare route", "×", ratios, TIMES_BARE if said else None),
        ]
    return [
        *made,
        Figure("answers that were not cached, or not whole", "", [measured.wrong], 0),
        Figure("cached answers without a stored turn", "", [measured.asked - stored], 0),
    ]


async def _round(
    targets: Mapping[str, Target], requests: int, measured: Measured
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {kind: [] for kind in (*targets, SAID)}
    for _ in range(requests):
        for kind in random.sample(list(targets), len(targets)):
            target = targets[kind]
            seconds, said = await target.connection.ask(target.request, target.mark)
            times[kind].append(seconds * 1000)
            if target.mark:
                times[SAID].append(said * 1000)
            measured.wrong += target.expected not in target.connection.body
            measured.asked += kind != BARE
    return times


async def _targets(stack: AsyncExitStack, api: str, bare: str, agent: int) -> dict[str, Target]:
    """A connection to the API for both of its calls, and one to the bare route."""
    path, body = f"/api/agents/{agent}/chat", {"message": QUESTION}
    ours = await stack.enter_async_context(connection(api))
    theirs = await stack.enter_async_context(connection(bare))
    return {
        BARE: Target(theirs, get(f"/answers/{agent}"), b'"answer":'),
        WHOLE: Target(ours, post(path, body), b'"cached":true'),
        STREAM: Target(ours, post(f"{path}/stream", body), b'"cached":true', TOKEN),
    }


async def _prepared(api: str) -> tuple[int, bytes]:
    """An agent whose answer is cached: its id, and the answer as it comes."""
    async with connection(api) as http:

        async def send(path: str, body: dict[str, object]) -> dict[str, object]:
            await http.ask(post(path, body))
            answer: dict[str, object] = orjson.loads(http.body)
            return answer

        portfolio = (await send("/api/portfolios", {"name": "bench"}))["id"]
        path = f"/api/portfolios/{portfolio}/documents?wait=true"
        await send(path, {"documents": DOCUMENTS})
        agent = {"name": "bench", "portfolio_id": portfolio, "provider": "extractive"}
        number = (await send("/api/agents", agent))["id"]
        await send(f"/api/agents/{number}/chat", {"message": QUESTION})
        assert isinstance(number, int)  # noqa: S101 — as the contract has it
        return number, http.body


@asynccontextmanager
async def _bare(servers: Servers, answer: bytes) -> AsyncIterator[str]:
    """The bare route's address; it finds an answer of the same size and a row by its key."""
    async with as_owner(servers.owner_url) as owner:
        await owner.execute(TENANT)
        for statement in TABLE:
            await owner.execute(statement)
    redis = Redis.from_url(servers.redis_url)
    await redis.set(bare_route.KEY, answer)
    await redis.aclose()
    arguments = (servers.app_url, servers.redis_url)
    async with worker("app.bench.bare_route", *arguments) as process:
        yield (await process.read())["url"]


@asynccontextmanager
async def _api(servers: Servers, folder: Path) -> AsyncIterator[str]:
    """`citestream serve` on the servers, as it is shipped; its address."""
    environment = _environment(servers, folder)
    async with _command("migrate", environment, folder / "migrate.log") as process:
        await process.communicate()
    async with _command("serve", environment, folder / "api.log") as process:
        assert process.stdout is not None  # noqa: S101 — a pipe
        async with asyncio.timeout(READY_SECONDS):
            line = await process.stdout.readline()
        found = re.search(rb"http://\S+", line)
        if found is None:
            said = await asyncio.to_thread((folder / "api.log").read_text, errors="replace")
            raise WorkerFailed((said.strip().splitlines() or ["The API did not start."])[-1])
        yield found[0].decode()


@asynccontextmanager
async def _command(name: str, environment: Mapping[str, str], log: Path) -> AsyncIterator[Process]:
    with await asyncio.to_thread(log.open, "wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", name), env=environment, stdout=PIPE, stderr=errors
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def _environment(servers: Servers, folder: Path) -> dict[str, str]:
    """This process's, with the servers and otherwise as it is shipped."""
    ours = ("CITESTREAM_", "DATABASE_", "REDIS_", "OPENAI_", "MISTRAL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {
        "DATABASE_URL": servers.app_url,
        "DATABASE_OWNER_URL": servers.owner_url,
        "REDIS_URL": servers.redis_url,
        "CITESTREAM_ENCODER__URL": servers.encoder_url or "",
        "CITESTREAM_DATA": str(folder),
        "PORT": "0",
    }
