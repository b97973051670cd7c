"""A graph for every portfolio that outgrows exact search: made and dropped by the owner.

Each has its own partial HNSW index, so it is searched as fast and as completely as if it had a
table of its own. Indexes are made and dropped CONCURRENTLY, which lets readers and writers go on,
cannot be done in a transaction, and leaves an invalid index where it is killed: that is dropped
and made anew. What is to do is asked of the catalog, never remembered. Until an index is valid,
the search is exact.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg
import structlog

from app.errors import AppError
from app.stores.migrate import as_owner

log = structlog.get_logger(__name__)

# One process at a time, asked for and not waited for: Postgres makes an index only when older
# transactions have ended, and a waiting session would be one of them. Closing gives it back.
TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext('vector indexes'))"
LOOK_SECONDS = 0.1
# How often the service looks for portfolios that have grown: until then their search is exact,
# and some milliseconds slower for every ten thousand chunks.
EVERY_SECONDS = 15.0

# A graph that does not fit is made several times as slowly. Per chunk: its vector, its links
# (m = 16) and what memory costs beside them; measured 1.7 kB with 384 dimensions.
BYTES_A_CHUNK, BYTES_A_DIMENSION = 1400, 2
MIN_MEMORY_MB, MAX_MEMORY_MB = 64, 2048
# In one process. Several would share the memory through /dev/shm, which is 64 MB in a container,
# and take the cores that questions are answered with.
SETTINGS = "SET max_parallel_maintenance_workers = 0; SET maintenance_work_mem = '{}MB'"

MISSING = """
SELECT vector_index(w.portfolio_id, w.encoder_id) AS name, w.portfolio_id, w.chunk_count,
       w.dimension, vector_index_definition(w.portfolio_id, w.encoder_id, w.dimension) AS definition
  FROM portfolios_with_chunks($1) w
 WHERE NOT has_vector_index(w.portfolio_id, w.encoder_id)
 ORDER BY w.chunk_count DESC, 1
"""
STALE = r"""
SELECT c.relname AS name
  FROM pg_inherits h
  JOIN pg_index i ON i.indrelid = h.inhrelid
  JOIN pg_class c ON c.oid = i.indexrelid
 WHERE h.inhparent = 'rag_embedding'::regclass AND c.relname LIKE 'rag\_embedding\_hnsw\_p%'
   AND (NOT i.indisvalid OR NOT EXISTS (
        SELECT FROM portfolios_with_chunks($1) w
         WHERE vector_index(w.portfolio_id, w.encoder_id) = c.relname))
 ORDER BY 1
"""
# Whether `search_vectors` knows the indexes there are, and telling it.
WRITTEN = "SELECT graphs_written()"
WRITE = "SELECT write_graphs()"
DONE = "SELECT tuples_done FROM pg_stat_progress_create_index WHERE pid = $1"


@dataclass(frozen=True, slots=True)
class Building:
    """An index that is being made, and how many of its chunks are in it by now."""

    portfolio_id: int
    chunks: int
    done: int


@dataclass(slots=True)
class Outcome:
    """How many indexes one pass has made and dropped."""

    built: int = 0
    dropped: int = 0


OnProgress = Callable[[Building], None]


class VectorIndexes:
    """Makes the indexes that are wanted and drops the others.

    `from_chunks`: a portfolio of so many chunks has an index, and keeps it until it has shrunk
    to half of that.
    """

    def __init__(self, owner_url: str, from_chunks: int) -> None:
        self._owner_url = owner_url
        self._from_chunks = from_chunks

    async def run(self) -> None:
        """Keep them as they should be until cancelled; what fails is logged and tried again."""
        failing = False
        while True:
            try:
                await self.update()
                failing = False
            except (AppError, asyncpg.PostgresError) as error:
                if not failing:  # once, not every few seconds
                    log.warning("vector_indexes_wait", reason=type(error).__name__)
                failing = True
            await asyncio.sleep(EVERY_SECONDS)

    async def update(self, on_progress: OnProgress | None = None) -> Outcome:
        """Once over everything, largest portfolios first; waits while another process does it."""
        outcome = Outcome()
        async with as_owner(self._owner_url) as connection:
            if not await self._work(connection):
                return outcome
            await _lock(connection)
            outcome.dropped = await self._drop_stale(connection)
            await connection.execute(WRITE)
            for row in await connection.fetch(MISSING, self._from_chunks):
                await self._build(connection, row, on_progress)
                outcome.built += 1
        return outcome

    async def _work(self, connection: asyncpg.Connection) -> bool:
        """Whether there is any, so that nobody waits for the lock with nothing to do."""
        return bool(
            await connection.fetch(MISSING, self._from_chunks)
            or await connection.fetch(STALE, self._from_chunks // 2)
            or not await connection.fetchval(WRITTEN)
        )

    async def _drop_stale(self, connection: asyncpg.Connection) -> int:
        stale = await connection.fetch(STALE, self._from_chunks // 2)
        for index in stale:
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index['name']}")
            log.info("vector_index_dropped", name=index["name"])
        return len(stale)

    async def _build(
        self, connection: asyncpg.Connection, row: asyncpg.Record, on_progress: OnProgress | None
    ) -> None:
        portfolio_id, chunks = row["portfolio_id"], row["chunk_count"]
        log.info("vector_index_begins", portfolio_id=portfolio_id, chunks=chunks)
        started = time.monotonic()
        await connection.execute(SETTINGS.format(memory_mb(chunks, row["dimension"])))
        async with self._watched(connection.get_server_pid(), row, on_progress):
            await connection.execute(row["definition"])
        await connection.execute(WRITE)
        seconds = round(time.monotonic() - started, 1)
        log.info("vector_index_made", portfolio_id=portfolio_id, chunks=chunks, seconds=seconds)

    @asynccontextmanager
    async def _watched(
        self, pid: int, row: asyncpg.Record, on_progress: OnProgress | None
    ) -> AsyncIterator[None]:
        """Tell how far the session is, from another one."""
        if on_progress is None:
            yield
            return
        on_progress(Building(row["portfolio_id"], row["chunk_count"], 0))
        async with as_owner(self._owner_url) as beside:
            watching = asyncio.create_task(_tell(beside, pid, row, on_progress))
            try:
                yield
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching


async def _tell(
    beside: asyncpg.Connection, pid: int, row: asyncpg.Record, on_progress: OnProgress
) -> None:
    while True:
        done = await beside.fetchval(DONE, pid) or 0
        on_progress(Building(row["portfolio_id"], row["chunk_count"], done))
        await asyncio.sleep(LOOK_SECONDS)


def memory_mb(chunks: int, dimension: int) -> int:
    """What building a graph of so many chunks may take."""
    needed = chunks * (BYTES_A_CHUNK + BYTES_A_DIMENSION * dimension) // 2**20
    return min(max(needed, MIN_MEMORY_MB), MAX_MEMORY_MB)


async def _lock(connection: asyncpg.Connection) -> None:
    while not await connection.fetchval(TRY_LOCK):  # noqa: ASYNC110 — another process has it
        await asyncio.sleep(LOOK_SECONDS)
