"""Every portfolio beyond the crossover gets its own graph, and searches stay whole meanwhile."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from app.chat.model import Scope
from app.embedded import Servers
from app.ingest.ports import NewDocument
from app.stores.passages import PgPassages
from app.stores.vector_indexes import MAX_MEMORY_MB, Building, VectorIndexes, memory_mb
from tests.support.command import environment, output_of
from tests.support.forking import Output
from tests.support.pg_stores import DIMENSION, ENCODER, Stores, unit

FROM = 40
ZERO = [0.0] * DIMENSION
VALID = "SELECT FROM encoders e WHERE has_vector_index($1, e.id)"


@pytest.fixture
def indexes(stores: Stores, migrated: Servers) -> VectorIndexes:
    return VectorIndexes(migrated.owner_url, FROM)


@pytest.fixture
def passages(stores: Stores) -> dict[str, PgPassages]:
    return {
        "exact": PgPassages(stores.database, exact_below_chunks=10**9, ef_search=40),
        "hnsw": PgPassages(stores.database, exact_below_chunks=1, ef_search=40),
    }


async def filled(stores: Stores, scope: Scope, count: int, name: str = "a.md") -> int:
    portfolio = await stores.portfolio(scope)
    await stores.add(scope, portfolio.id, lines(count, name))
    return portfolio.id


def lines(count: int, name: str) -> NewDocument:
    return NewDocument(name, "\n".join(f"{name} {number}" for number in range(count)), name)


async def has_index(stores: Stores, portfolio_id: int) -> bool:
    return bool(await stores.behind(VALID, portfolio_id))


async def test_made_when_grown_kept_while_not_far_below_dropped_after(
    stores: Stores, scope: Scope, indexes: VectorIndexes
) -> None:
    small, large = await filled(stores, scope, FROM - 1), await filled(stores, scope, FROM)
    seen: list[Building] = []
    outcome = await indexes.update(seen.append)
    assert outcome.built >= 1
    assert Building(large, FROM, 0) in seen
    assert (await has_index(stores, small), await has_index(stores, large)) == (False, True)
    outcome = await indexes.update()
    assert (outcome.built, outcome.dropped) == (0, 0)

    await stores.add(scope, large, lines(FROM // 2, "a.md"))  # in the place of the former text
    await indexes.update()
    assert await has_index(stores, large)
    await stores.add(scope, large, lines(FROM // 2 - 1, "a.md"))
    assert (await indexes.update()).dropped == 1
    assert not await has_index(stores, large)


async def test_of_a_deleted_portfolio_it_is_dropped(
    stores: Stores, scope: Scope, indexes: VectorIndexes
) -> None:
    portfolio_id = await filled(stores, scope, FROM)
    await indexes.update()
    await stores.portfolios.delete(scope, portfolio_id)
    assert (await indexes.update()).dropped == 1
    assert not await has_index(stores, portfolio_id)


async def test_what_a_killed_build_left_is_made_anew(
    stores: Stores, scope: Scope, indexes: VectorIndexes, passages: dict[str, PgPassages]
) -> None:
    portfolio_id = await filled(stores, scope, FROM)
    await indexes.update()
    await stores.behind(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass("
        "(SELECT vector_index($1, id) FROM encoders WHERE name = $2))", portfolio_id, ENCODER,
    )  # fmt: skip
    query = unit(random.Random("a.md 7"))
    [hit] = await passages["hnsw"].vector_search(scope, portfolio_id, ENCODER, query, 1, {})
    assert hit.text == "a.md 7"
    outcome = await indexes.update()
    assert (outcome.built, outcome.dropped) == (1, 1)
    assert await has_index(stores, portfolio_id)


async def test_several_processes_at_once_make_each_once(
    stores: Stores, scope: Scope, indexes: VectorIndexes
) -> None:
    ids = [await filled(stores, scope, FROM) for _ in range(3)]
    outcomes = await asyncio.gather(*(indexes.update() for _ in range(4)))
    assert sum(outcome.built for outcome in outcomes) == 3
    assert all([await has_index(stores, each) for each in ids])


async def test_nobody_waits_while_it_is_made(
    stores: Stores, scope: Scope, indexes: VectorIndexes, passages: dict[str, PgPassages]
) -> None:
    """A transaction that is older keeps the index waiting, and nobody else."""
    portfolio_id = await filled(stores, scope, FROM)
    async with stores.database.transaction(scope) as older:
        await older.execute("LOCK TABLE rag_embedding IN ROW EXCLUSIVE MODE")
        making = asyncio.create_task(indexes.update())
        waiting = "SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"
        async with asyncio.timeout(20):
            while not await stores.behind(waiting):
                pass
        await stores.add(scope, portfolio_id, lines(5, "b.md"))
        query = unit(random.Random("b.md 3"))
        hits = await passages["hnsw"].vector_search(scope, portfolio_id, ENCODER, query, 99, {})
        assert (hits[0].text, len(hits)) == ("b.md 3", FROM + 5)
        assert not making.done()
    await making
    assert await has_index(stores, portfolio_id)


async def test_a_replaced_document_never_leaves_a_result_short(
    stores: Stores, scope: Scope, indexes: VectorIndexes, passages: dict[str, PgPassages]
) -> None:
    portfolio_id = await filled(stores, scope, FROM)
    await indexes.update()
    over = asyncio.Event()

    async def replace() -> None:
        for turn in range(30):
            text = "\n".join(f"turn {turn} line {number}" for number in range(FROM))
            await stores.add(scope, portfolio_id, NewDocument("a.md", text, "a.md"))
        over.set()

    async def search(way: str) -> None:
        query = unit(random.Random(way))
        while not over.is_set():
            hits = await passages[way].vector_search(scope, portfolio_id, ENCODER, query, 10, {})
            assert len(hits) == 10
            assert len({hit.text.rpartition(" ")[0] for hit in hits}) == 1  # of one version

    await asyncio.gather(replace(), search("exact"), search("hnsw"))


@pytest.mark.parametrize("way", ["exact", "hnsw"])
async def test_vectors_of_length_zero_come_last(
    stores: Stores,
    scope: Scope,
    indexes: VectorIndexes,
    passages: dict[str, PgPassages],
    way: str,
) -> None:
    portfolio = await stores.portfolio(scope)
    source = random.Random(1)
    vectors = [ZERO if number < 3 else unit(source) for number in range(FROM)]
    await stores.add(scope, portfolio.id, lines(FROM, "a.md"), vectors)
    await indexes.update()
    search = passages[way].vector_search
    for limit in (FROM - 3, FROM, FROM + 10):
        hits = await search(scope, portfolio.id, ENCODER, unit(source), limit, {})
        assert len(hits) == min(limit, FROM)
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert scores[FROM - 3 :] == [-1.0] * (min(limit, FROM) - (FROM - 3))
    hits = await search(scope, portfolio.id, ENCODER, ZERO, 5, {})
    assert [(hit.text, hit.score) for hit in hits] == [(f"a.md {n}", -1.0) for n in range(5)]


async def test_recall_with_a_third_deleted(
    stores: Stores, scope: Scope, indexes: VectorIndexes, passages: dict[str, PgPassages]
) -> None:
    portfolio = await stores.portfolio(scope)
    documents = [
        await stores.add(scope, portfolio.id, lines(100, f"{number}.md")) for number in range(6)
    ]
    await indexes.update()
    for document_id in documents[::3]:
        await stores.documents.delete(scope, document_id)
    source, same = random.Random(3), 0
    for _ in range(20):
        query = unit(source)
        found = [
            await passages[way].vector_search(scope, portfolio.id, ENCODER, query, 10, {})
            for way in ("exact", "hnsw")
        ]
        exact, approximate = ({hit.chunk_id for hit in hits} for hits in found)
        assert len(exact) == len(approximate) == 10
        same += len(exact & approximate)
    assert same >= 0.97 * 200


async def test_the_services_role_makes_no_index(stores: Stores, migrated: Servers) -> None:
    for statement in (
        "CREATE INDEX ON rag_embedding_p00 (tenant_id)",
        "SELECT * FROM portfolios_with_chunks(0)",
    ):
        async with stores.database.connection() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


def test_memory_follows_the_size_within_bounds() -> None:
    assert memory_mb(10, 384) == 64
    assert 150 < memory_mb(100_000, 384) < 300
    assert memory_mb(10**9, 384) == MAX_MEMORY_MB


async def test_the_command_makes_what_is_due(
    fresh_database: Callable[[], Awaitable[Servers]], tmp_path: Path, stores: Stores, scope: Scope,
    migrated: Servers, forked: Output,
) -> None:  # fmt: skip
    portfolio_id = await filled(stores, scope, FROM)
    variables = environment(
        tmp_path,
        DATABASE_URL=migrated.app_url,
        DATABASE_OWNER_URL=migrated.owner_url,
        CITESTREAM_RETRIEVAL__EXACT_BELOW_CHUNKS=str(FROM),
    )
    status, printed = await output_of("index", env=variables)
    assert status == 0, printed
    assert "Vector indexes: 1 made" in printed
    assert await has_index(stores, portfolio_id)
    status, printed = await forked("index", env=variables)
    assert (status, "Nothing to do" in printed) == (0, True)
    status, printed = await forked("index", env=variables | {"DATABASE_OWNER_URL": ""})
    assert (status, "DATABASE_OWNER_URL" in printed) == (1, True)
