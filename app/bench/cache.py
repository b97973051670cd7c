"""`citestream bench cache`: a cached answer over HTTP, beside a route that only looks one up.

The bare route (`app.bench.bare_route`) has the same servers, event loop and uvicorn as the API,
which is asked with a key. One client asks them in short turns, in an order of chance, and reads
each answer to its end. Besides reading, the API stores the turn, as a bare route never does: what
is stored is counted afterwards. Then what an entry takes in Redis beyond its value, and how many of
the questions of a usual day are found.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles

import httpx2
from redis.asyncio import Redis

from app.bench import bare_route
from app.bench.cached_items import bench_items
from app.bench.figures import Figure
from app.bench.installation import OURS, TENANT, Installation
from app.bench.messages import get
from app.bench.processes import running as program
from app.bench.zipf import Workload, bench_zipf
from app.stores.migrate import as_owner

TURN = 10  # requests of a kind before the next one's
TIMES_BARE, STORED_MS = 2.0, 5.0
BARE, WHOLE, STREAM, SAID = "bare", "whole", "stream", "said"

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


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked: `requests` of each kind in each round, a multiple of TURN."""

    requests: int = 400
    items: int = 5_000
    workload: Workload = field(default_factory=Workload)


@dataclass(slots=True)
class Measured:
    """Milliseconds by kind, a list for each round; and how many were asked of the API."""

    rounds: list[dict[str, list[float]]] = field(default_factory=list)
    asked: int = 0

    def medians(self, kind: str) -> list[float]:
        return [median(times[kind]) for times in self.rounds]

    def high(self, kind: str) -> list[float]:
        return [quantiles(times[kind], n=100)[98] for times in self.rounds]


async def bench_cache(
    running: Installation, say: Callable[[str], None], rounds: int, load: Load
) -> list[Figure]:
    """Raises WorkerFailed."""
    measured, wrong = Measured(), running.wrong
    [question] = running.questions(1)
    kinds = {
        WHOLE: (await running.requests(OURS, [question], whole=True))[0],
        STREAM: (await running.requests(OURS, [question]))[0],
    }
    await running.ask(OURS, [kinds[STREAM]], 1)
    stored_before = await _stored(running)
    async with _bare(running, kinds[WHOLE]) as bare:
        measured.asked += 1
        for number in range(rounds + 1):
            times = await _round(running, {BARE: bare, **kinds}, load, measured)
            if number:  # the first warms everything up
                measured.rounds.append(times)
                told = ", ".join(f"{kind} {median(each):.2f} ms" for kind, each in times.items())
                say(f"round {number} of {rounds}: {told}")
    stored = await _stored(running) - stored_before
    return [
        *figures(measured, running.wrong - wrong, stored),
        await bench_items(running, load.items, rounds),
        *await bench_zipf(running, load.workload, say),
    ]


def figures(measured: Measured, wrong: int, stored: int) -> list[Figure]:
    """`stored` is how many turns of cached answers the database has got."""
    bare = measured.medians(BARE)
    name = "a Redis GET and a Postgres SELECT, bare route: p50"
    made = [Figure(name, "ms", bare, yardstick=True)]
    for kind, name in NAMES.items():
        times = measured.medians(kind)
        ratios = [ours / theirs for ours, theirs in zip(times, bare, strict=True)]
        made += [
            Figure(f"{name}: p50", "ms", times, None if kind == SAID else STORED_MS),
            Figure(f"{name}: p99", "ms", measured.high(kind)),
            Figure(
                f"{name}: p50 / bare route", "×", ratios, None if kind == STREAM else TIMES_BARE
            ),
        ]
    return [
        *made,
        Figure("answers that were not cached, or not whole", "", [wrong], 0),
        Figure("cached answers without a stored turn", "", [measured.asked - stored], 0),
    ]


async def _round(
    running: Installation, kinds: Mapping[str, str], load: Load, measured: Measured
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {kind: [] for kind in (*kinds, SAID)}
    for _ in range(load.requests // TURN):
        for kind in random.sample(list(kinds), len(kinds)):
            some = [kinds[kind]] * TURN
            if kind == BARE:
                heard = await running.ask(BARE, some, 1, expected='"answer":')
            else:
                heard = await running.ask(OURS, some, 1, cached=True)
                measured.asked += TURN
            times[kind] += [each * 1000 for each in heard["whole"]]
            if kind == STREAM:
                times[SAID] += [each * 1000 for each in heard["last"]]
    return times


async def _stored(running: Installation) -> int:
    async with as_owner(running.site.servers.owner_url) as owner:
        await owner.execute(TENANT, str(running.site.agents.library.scope.tenant_id))
        return int(await owner.fetchval(STORED))


@asynccontextmanager
async def _bare(running: Installation, request: str) -> AsyncIterator[str]:
    """The request for the bare route, which finds what the other request is answered with, and a
    row by its key."""
    site = running.site
    async with as_owner(site.servers.owner_url) as owner:
        await owner.execute(TENANT, str(site.agents.library.scope.tenant_id))
        for statement in TABLE:
            await owner.execute(statement)
    answer = await _answer(running, request)
    redis = Redis.from_url(site.servers.redis_url)
    await redis.set(bare_route.KEY, answer)
    await redis.aclose()
    servers = (site.servers.app_url, site.servers.redis_url)
    log = running.folder / "bare.log"
    async with program(log, "-m", "app.bench.bare_route", *servers) as bare:
        with running.joined(BARE, bare):
            yield get(f"/answers/{next(iter(site.agents.made.values()))}")


async def _answer(running: Installation, request: str) -> bytes:
    """What the API says to the bytes of a request."""
    head, _, body = request.partition("\r\n\r\n")
    [first, *lines] = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    url = f"http://127.0.0.1:{running.programs[OURS].port}{first.split()[1]}"
    async with httpx2.AsyncClient() as http:
        answer = await http.post(url, content=body.encode(), headers=headers)
    answer.raise_for_status()
    return answer.content
