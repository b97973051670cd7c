"""`citestream bench pool`: whether connections are used again, and are there for the next question.

How many the API opens is counted where they arrive, by Postgres, Redis and the provider, and how
often it uses one by as little as can be: once for each question. So what is said of reuse is the
least that it can be. Then with many streams open, in the middle of their answers: how many of the
API's connections to Postgres are lent, by its own account, and what another question costs.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

import asyncpg
from redis.asyncio import Redis

from app.bench.figures import Figure
from app.bench.installation import OURS, TENANT, Installation
from app.embedded.postgres import APP
from app.stores.migrate import as_owner

HELD = "held-0-0-8"
POSTGRES, REDIS, PROVIDER = "Postgres", "Redis", "provider"
OF_POSTGRES = ("questions", "administration")  # as the API's statistics name them
REUSED_PERCENT = 99.0
# One process has the pools that its statistics are of, and streams wait for others meanwhile.
VARIABLES = {
    "CITESTREAM_WORKERS": "1",
    "CITESTREAM_PROVIDER__BETWEEN_TOKENS_SECONDS": "600",
    "CITESTREAM_PROVIDER__TOTAL_SECONDS": "1200",
}
# Those that are over are counted when they end, those that are not when they have been idle for a
# while: whichever is more.
SESSIONS = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
CONNECTED = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = $1
"""


@dataclass(frozen=True, slots=True)
class Load:
    questions: int = 400
    clients: int = 16
    streams: int = 200
    opening: int = 16
    beside: int = 60  # questions of one client, with the streams and without


@dataclass(slots=True)
class Measured:
    """A value of each round."""

    reused: dict[str, list[float]] = field(default_factory=dict)
    lent: list[float] = field(default_factory=list)
    alone_ms: list[float] = field(default_factory=list)
    beside_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Opened:
    """Connections that the servers have been asked for until now."""

    sessions: int
    pids: frozenset[int]
    redis: int
    provider: int

    def since(self, before: "Opened") -> dict[str, int]:
        new = len(self.pids - before.pids)
        return {
            POSTGRES: max(new, self.sessions - before.sessions),
            REDIS: self.redis - before.redis,
            PROVIDER: self.provider - before.provider,
        }


async def bench_pool(
    running: Installation, say: Callable[[str], None], rounds: int, load: Load
) -> list[Figure]:
    """On an installation with VARIABLES. Raises WorkerFailed."""
    measured, wrong = Measured(), running.wrong
    async with _servers(running) as (owner, redis):
        await _ask(running, load.questions, load.clients)  # as many connections are there
        for number in range(1, rounds + 1):
            before = await _opened(running, owner, redis)
            await _ask(running, load.questions, load.clients)
            opened = (await _opened(running, owner, redis)).since(before)
            for where, count in opened.items():
                share = 100 * (1 - count / load.questions)
                measured.reused.setdefault(where, []).append(share)
            await _under_streams(running, load, measured)
            told = ", ".join(f"{count} of {where}" for where, count in opened.items())
            say(f"round {number} of {rounds}: opened for {load.questions} questions: {told}")
    stages = (await running.site.statistics())["performance"]["since_start"]["stages"]
    return [
        *_figures(measured, load),
        *_waits(stages.get("queue", {}), load),
        Figure("answers that were cached, or refused", "", [running.wrong - wrong], 0),
    ]


def _figures(measured: Measured, load: Load) -> list[Figure]:
    made = [
        Figure(
            f"{where}: connections used again, {load.clients} at once",
            "%",
            values,
            REUSED_PERCENT,
            "higher",
        )
        for where, values in measured.reused.items()
    ]
    pairs = zip(measured.beside_ms, measured.alone_ms, strict=True)
    return [
        *made,
        Figure(f"{POSTGRES}: connections lent, {load.streams} open streams", "", measured.lent, 0),
        Figure("first token of a question: p50", "ms", measured.alone_ms),
        Figure(f"  with {load.streams} open streams", "ms", measured.beside_ms),
        Figure("  with open streams / without", "×", [beside / alone for beside, alone in pairs]),
    ]


def _waits(queue: dict[str, float | None], load: Load) -> list[Figure]:
    """How long those waited for a connection to Postgres who found none at hand."""
    longest = queue.get("p99_ms")
    if longest is None:
        return []
    name = f"waiting for a connection to {POSTGRES} that was not at hand: p99"
    return [Figure(name, "ms", [longest])]


async def _ask(running: Installation, count: int, clients: int) -> float:
    """Milliseconds to the first token, the median."""
    requests = await running.requests(OURS, running.questions(count))
    return float(median((await running.ask(OURS, requests, clients))["first"])) * 1000


async def _under_streams(running: Installation, load: Load, measured: Measured) -> None:
    alone = [await _ask(running, load.beside, 1)]
    await running.open(OURS, load.streams, load.opening, HELD)
    lent = await _lent(running)
    measured.beside_ms.append(await _ask(running, load.beside, 1))
    # What a stream keeps it has both times; what is read or stored just then is soon given back.
    measured.lent.append(min(lent, await _lent(running)))
    await running.provider.ask({"release": True})
    await running.clients.ask({"do": "close"})
    alone.append(await _ask(running, load.beside, 1))
    measured.alone_ms.append(median(alone))


async def _lent(running: Installation) -> int:
    """The API's connections to Postgres that are in use at this moment."""
    pools = (await running.site.statistics())["pools"]
    return sum(pools[name]["in_use"] for name in OF_POSTGRES)


@asynccontextmanager
async def _servers(running: Installation) -> AsyncIterator[tuple[asyncpg.Connection, Redis]]:
    servers = running.site.servers
    redis = Redis.from_url(servers.redis_url, max_connections=1)
    try:
        async with as_owner(servers.owner_url) as owner:
            await owner.execute(TENANT, str(running.site.agents.library.scope.tenant_id))
            await redis.ping()
            yield owner, redis
    finally:
        await redis.aclose()


async def _opened(running: Installation, owner: asyncpg.Connection, redis: Redis) -> Opened:
    pids = frozenset(row["pid"] for row in await owner.fetch(CONNECTED, APP))
    return Opened(
        int(await owner.fetchval(SESSIONS)),
        pids,
        int((await redis.info("stats"))["total_connections_received"]),
        int((await running.provider.ask({"connections": True}))["connections"]),
    )
