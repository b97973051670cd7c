"""Portfolios of every size, searched while they are written to and a third of them is deleted."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from pgvector.asyncpg import register_vector

from app.bench.corpus import ENCODER
from app.embedded import Servers, embedded_servers
from app.stores.database import Database
from app.stores.documents import PgDocuments
from app.stores.migrate import as_owner, upgrade
from app.stores.vector_indexes import Building, VectorIndexes
from tests.soak.every_match import searching
from tests.soak.every_match.counts import Counts
from tests.soak.every_match.rounds import Rounds
from tests.soak.every_match.searching import Searched, Searcher
from tests.soak.every_match.shelves import Library, fill
from tests.soak.every_match.writing import WRITTEN, Writer, delete_some
from tests.soak.row import Row, Stage, at_least, at_most
from tests.support.logged import logged_to

CHUNKS, SECONDS = 1_000_000, 1800.0  # `--seconds` leaves as large a share of the chunks
FEWEST_CHUNKS = 6_000
SEARCHING = 1 / 8  # of the seconds: how long rounds begin, before the deletes and after
DELETED = 0.3
CLIENTS, WRITERS = 4, 2
# As the service has them by default; but a small machine that is busy with several clients, and
# with a result of 200,000 rows, is not what this row is about.
EXACT_BELOW, EF_SEARCH = 400, 80
DEADLINE_SECONDS = 60.0
BEFORE, DURING, AFTER = "before the deletes", "during the deletes", "after the deletes"
SIZE = "SELECT pg_database_size(current_database())"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much there is and how long it is searched."""

    chunks: int
    searching_seconds: float
    exact_below: int = EXACT_BELOW


async def measure(stage: Stage) -> AsyncIterator[tuple[str, float]]:
    chunks = max(FEWEST_CHUNKS, round(CHUNKS * stage.seconds / SECONDS))
    stage.say("Starting Postgres")
    async with embedded_servers(stage.folder / "data", encoder=None) as servers:
        await upgrade(servers.owner_url)
        with logged_to(stage.folder / "stores.log"):
            async for figure in scenario(stage, servers, Scale(chunks, stage.seconds * SEARCHING)):
                yield figure


async def scenario(
    stage: Stage, servers: Servers, scale: Scale
) -> AsyncIterator[tuple[str, float]]:
    """All of it, in a migrated database of nobody else's."""
    started = time.monotonic()
    library = await fill(servers.owner_url, scale.chunks, stage.chance.getrandbits(32), stage.say)
    yield "chunks", sum(each.size for each in library.shelves)
    yield "portfolios", len(library.shelves)
    yield "chunks of the largest portfolio", library.shelves[0].size
    yield "seconds of filling", time.monotonic() - started
    started = time.monotonic()
    built = await _build(stage, servers, scale)
    yield "portfolios with a graph", built
    yield "seconds of making graphs", time.monotonic() - started
    counts = Counts(stage.note)
    async with AsyncExitStack() as stack:
        rounds = await _rounds(stage, stack, servers, scale, library, counts)
        database = await Database.open(servers.app_url, timeout_seconds=DEADLINE_SECONDS)
        stack.push_async_callback(database.close)
        documents = PgDocuments(database)
        yield (
            "documents deleted",
            await _under_writes(stage, library, rounds, documents, counts, scale.searching_seconds),
        )
    for figure in _figures(counts):
        yield figure
    async with as_owner(servers.owner_url) as owner:
        yield "MB of the database at the end", await owner.fetchval(SIZE) / 2**20
    for line in [*counts.told(BEFORE), *counts.told(AFTER)]:
        stage.note(line)


async def _build(stage: Stage, servers: Servers, scale: Scale) -> int:
    """The graphs as `citestream index` makes them."""
    told: set[tuple[int, int]] = set()

    def show(building: Building) -> None:
        fifth = (building.portfolio_id, building.done * 5 // building.chunks)
        if building.chunks >= scale.chunks // 50 and fifth not in told:
            told.add(fifth)
            stage.say(f"Graph of {building.chunks:,} chunks: {building.done:,} in it")

    outcome = await VectorIndexes(servers.owner_url, scale.exact_below).update(show)
    stage.say(f"{outcome.built} graphs made")
    return outcome.built


async def _rounds(
    stage: Stage,
    stack: AsyncExitStack,
    servers: Servers,
    scale: Scale,
    library: Library,
    counts: Counts,
) -> Rounds:
    """Clients over one pool of the service's role, each with the owner's way to look behind it."""
    database = await Database.open(servers.app_url, timeout_seconds=DEADLINE_SECONDS)
    stack.push_async_callback(database.close)
    searched = Searched.over(database, scale.exact_below, EF_SEARCH, DEADLINE_SECONDS)
    searchers: list[Searcher] = []
    for _ in range(CLIENTS):
        owner: Any = await stack.enter_async_context(as_owner(servers.owner_url))
        await register_vector(owner)
        encoder_id = await owner.fetchval("SELECT id FROM encoders WHERE name = $1", ENCODER)
        seed = stage.chance.getrandbits(32)
        searchers.append(Searcher(searched, owner, encoder_id, counts, seed))
    return Rounds(library, searchers, stage.chance)


async def _under_writes(
    stage: Stage,
    library: Library,
    rounds: Rounds,
    documents: PgDocuments,
    counts: Counts,
    seconds: float,
) -> int:
    """Search before, during and after the deletes, while documents come and go; how many were
    deleted."""
    shelves = [each for each in library.shelves if each.written]
    over, deleted = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(Writer(documents, shelves, counts, number).until(over))
        try:
            await rounds.for_seconds(BEFORE, seconds)
            stage.say(_summary(counts))
            searching_on = group.create_task(rounds.until(DURING, deleted))
            count = await delete_some(documents, library, DELETED, stage.chance, stage.say)
            deleted.set()
            await searching_on
            await rounds.for_seconds(AFTER, seconds)
            stage.say(_summary(counts))
        finally:
            deleted.set()
            over.set()
    return count


def _summary(counts: Counts) -> str:
    wrong = sum(counts.of[each] for each in WRONG)
    searches = sum(counts.of[each] for each in SEARCHES)
    return f"{searches:,} searches, {counts.of[WRITTEN]:,} writes, {wrong} wrong"


def _figures(counts: Counts) -> list[tuple[str, float]]:
    return [
        *((each, counts.of[each]) for each in (WRITTEN, *SEARCHES, searching.OVERTAKEN, *WRONG)),
        *((f"lowest recall@10, {each}", counts.lowest(each)) for each in (BEFORE, AFTER)),
    ]


SEARCHES = (searching.JUDGED, searching.KEYWORDS, searching.HYBRID)
WRONG = (
    searching.WRONG_COUNTS,
    searching.WRONG_KEYWORDS,
    searching.FOREIGN,
    searching.EXCLUDED,
    searching.TWICE,
    searching.EMPTY,
    searching.FAILED,
)
LIMITS = {
    "portfolios with a graph": at_least(1),
    "documents deleted": at_least(1),
    WRITTEN: at_least(10),
    **{each: at_least(50) for each in SEARCHES},
    **{each: at_most(0) for each in WRONG},
    **{f"lowest recall@10, {each}": at_least(0.95) for each in (BEFORE, AFTER)},
}
ROW = Row(
    16,
    "All of the matches, at every size",
    LIMITS,
    ("searches by vector that were judged", "lowest recall@10, after the deletes"),
    measure,
    seconds=SECONDS,
)
