"""Empty databases, and processes that all want to migrate one of them at the same moment."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from app.embedded.postgres import (
    APP,
    DATABASE,
    EXTENSION_STATEMENT,
    OWNER,
    SUPERUSER,
    database_statements,
)
from app.stores.migrate import LOCK
from tests.soak.deployment import Deployment
from tests.soak.processes import launch, stop
from tests.soak.starting import Process

LOOK_SECONDS = 0.005
# Who has the lock, and how many tables and indexes it has made or changed by now: nobody else sees
# them before the end.
LEADER = """
SELECT a.application_name AS name,
       (SELECT count(*) FROM pg_locks m WHERE m.pid = a.pid AND m.locktype = 'relation'
           AND m.mode = 'AccessExclusiveLock') AS changed
  FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
   AND (l.classid::bigint << 32) + l.objid::bigint = $1
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True, slots=True)
class Empty:
    """A database of the deployment's Postgres with nothing in it. `superuser_url` looks in."""

    running: Deployment
    name: str

    def url(self, role: str) -> str:
        servers = self.running.servers
        url = servers.owner_url.replace(f"/{DATABASE}?", f"/{self.name}?", 1)
        return url.replace(OWNER, role, 1)

    @property
    def superuser_url(self) -> str:
        return self.url(SUPERUSER)

    @property
    def variables(self) -> dict[str, str]:
        """For a process that serves from it."""
        named = {"DATABASE_URL": self.url(APP), "DATABASE_OWNER_URL": self.url(OWNER)}
        return {**self.running.variables, **named}


@asynccontextmanager
async def empty_database(running: Deployment, name: str) -> AsyncIterator[Empty]:
    """One of this name, dropped at the end."""
    made = Empty(running, name)
    for statement in database_statements(name):
        await running.behind(statement)
    try:
        await _execute(made.superuser_url, EXTENSION_STATEMENT)
        yield made
    finally:
        await running.behind(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True, slots=True)
class Start:
    """`citestream migrate` on its way, under the name by which Postgres knows it."""

    name: str
    process: Process


@asynccontextmanager
async def starts(database: Empty, count: int) -> AsyncIterator[list[Start]]:
    """So many at once."""
    begun = await asyncio.gather(*(start(database, f"start-{number}") for number in range(count)))
    try:
        yield begun
    finally:
        await asyncio.gather(*(stop(each.process) for each in begun))


async def start(database: Empty, name: str) -> Start:
    variables = database.variables
    variables["DATABASE_OWNER_URL"] += f"&application_name={name}"
    return Start(name, await launch(database.running.stage, name, "migrate", **variables))


async def statuses(begun: Sequence[Start]) -> list[int]:
    """How they ended, once all have; negative: by which signal."""
    await asyncio.gather(*(each.process.communicate() for each in begun))
    return [each.process.returncode or 0 for each in begun]


async def most_changed(database: Empty, begun: Sequence[Start]) -> int:
    """How much the leader had changed when it was last looked at, before all have ended."""
    most = 0
    async with _looking(database) as looking:
        while any(each.process.returncode is None for each in begun):
            if row := await looking.fetchrow(LEADER, LOCK):
                most = max(most, row["changed"])
            await asyncio.sleep(LOOK_SECONDS)
    return most


async def kill_leader(database: Empty, begun: Sequence[Start], changed: int) -> Start | None:
    """SIGKILL to whoever has the lock as soon as it has changed so much; None where all have ended
    before."""
    async with _looking(database) as looking:
        while any(each.process.returncode is None for each in begun):
            row = await looking.fetchrow(LEADER, LOCK)
            if row and row["changed"] >= changed:
                leader = next(each for each in begun if each.name == row["name"])
                os.killpg(leader.process.pid, signal.SIGKILL)
                return leader
            await asyncio.sleep(LOOK_SECONDS)
    return None


@asynccontextmanager
async def _looking(database: Empty) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.superuser_url)
    try:
        yield connection
    finally:
        await connection.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
