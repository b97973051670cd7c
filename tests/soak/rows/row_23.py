"""Eight processes that migrate when they start do so at once on an empty database, again and again;
and who has begun with it is killed at some moment before its end.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from app.embedded.postgres import OWNER
from app.stores.migrate import check, current, head
from tests.soak.deployment import Deployment, deployment
from tests.soak.faults.starts import (
    Empty,
    empty_database,
    kill_leader,
    most_changed,
    start,
    starts,
    statuses,
)
from tests.soak.faults.steady import tell
from tests.soak.processes import service
from tests.soak.row import Row, Stage, at_least, at_most

STARTS, KILLS = 20, 8
EXAMPLES = 5
# What the first start of all puts in, however many there are.
FIRST = ("tenants", "agents", "portfolios", "encoders")


@dataclass(frozen=True, slots=True)
class Scale:
    """So many processes at once, so often; and so often with the leader killed."""

    processes: int
    starts: int
    kills: int


class Tally:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.failed = self.wrong = self.killed = self.behind = 0
        self.seconds: list[float] = []
        self.changed: list[int] = []

    def failures(self, name: str, statuses: list[int]) -> int:
        bad = [each for each in statuses if each != 0]
        if bad and self.failed + self.behind < EXAMPLES:
            self._stage.note(f"{name}: exit statuses {bad}; see the logs start-*.log")
        return len(bad)

    async def judge(self, database: Empty, *, thoroughly: bool = False) -> None:
        """Whether the database is what one start alone would have made of it."""
        found = await _found(database)
        expected = {"revision": head(), **dict.fromkeys(FIRST, 1)}
        if found != expected:
            self.wrong += 1
            self._stage.note(f"{database.name}: {found}")
        if thoroughly:
            await check(database.url(OWNER))


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    share = stage.seconds / ROW.seconds
    scale = Scale(8, max(1, round(STARTS * share)), max(1, round(KILLS * share)))
    async with deployment(stage, replicas=0, through_proxies=False) as running:
        async for figure in scenario(stage, running, scale):
            yield figure


async def scenario(
    stage: Stage, running: Deployment, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """With a deployment's Postgres and encoder; its own database is left alone."""
    tally, most = Tally(stage), 0
    for number in range(scale.starts):
        async with empty_database(running, f"together_{number}") as database:
            most = max(most, await _together(database, scale.processes, tally))
        stage.say(f"Start {number + 1} of {scale.starts}: {tally.seconds[-1]:.1f} s")
    for number in range(scale.kills):
        # The last one is about to say so: after half of the changes and before all of them too.
        changed = 1 + round(most * 0.95 * stage.chance.random())
        async with empty_database(running, f"killed_{number}") as database:
            await _killed(database, scale.processes, changed, tally)
            if number == scale.kills - 1:
                answers = await _serves(stage, database)
        stage.say(f"Leader {number + 1} of {scale.kills} killed, behind {changed} changes")
    yield "times that all started at once", scale.starts
    yield "processes at once", scale.processes
    yield "processes that failed", tally.failed
    yield "seconds until all had ended, at most", max(tally.seconds)
    yield "tables and indexes that the leader makes or changes", most
    yield "leaders killed on the way", tally.killed
    yield "of which behind half of the changes", sum(each > most / 2 for each in tally.changed)
    yield "processes that failed behind a killed leader", tally.behind
    yield "databases that are not what one start makes", tally.wrong
    yield "questions answered by a replica behind the last of them", answers


async def _together(database: Empty, count: int, tally: Tally) -> int:
    """All at once, and nobody disturbs them; how much the leader had to do."""
    began = time.monotonic()
    async with starts(database, count) as begun:
        most = await most_changed(database, begun)
        tally.failed += tally.failures(database.name, await statuses(begun))
    tally.seconds.append(time.monotonic() - began)
    await tally.judge(database)
    return most


async def _killed(database: Empty, count: int, changed: int, tally: Tally) -> None:
    """The leader is killed; the others must come to the end, and he too when he starts again."""
    async with starts(database, count) as begun:
        leader = await kill_leader(database, begun, changed)
        others = [each for each in begun if each is not leader]
        tally.behind += tally.failures(database.name, await statuses(others))
        if leader is not None:
            tally.killed += 1
            tally.changed.append(changed)
            again = await start(database, leader.name)
            tally.behind += tally.failures(database.name, await statuses([again]))
    await tally.judge(database, thoroughly=True)


async def _serves(stage: Stage, database: Empty) -> int:
    """How many questions a replica answers there, of one."""
    running = database.running
    async with service(stage, "serve", "serve", **database.variables) as replica:
        [agent] = (await running.http.get(f"{replica.url}/api/agents")).json()["items"]
        path = f"{replica.url}/api/agents/{agent['id']}/chat"
        told = await tell(running.http, "", "POST", path, json={"message": "Who is there?"})
    return int(told.good)


async def _found(database: Empty) -> dict[str, object]:
    connection = await asyncpg.connect(database.superuser_url)
    try:
        counts = {
            table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in FIRST
        }
    finally:
        await connection.close()
    return {"revision": await current(database.url(OWNER)), **counts}


LIMITS = {
    "times that all started at once": at_least(STARTS),
    "processes that failed": at_most(0),
    "leaders killed on the way": at_least(5),
    "of which behind half of the changes": at_least(1),
    "processes that failed behind a killed leader": at_most(0),
    "databases that are not what one start makes": at_most(0),
    "questions answered by a replica behind the last of them": at_least(1),
}
ROW = Row(
    23,
    "Migrations meet replicas",
    LIMITS,
    ("times that all started at once", "processes that failed"),
    measure,
    seconds=300.0,
)
