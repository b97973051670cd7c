"""The statements by which graphs are searched: written with the indexes, never wrong without."""

import random

import pytest

from app.chat.model import Scope
from app.embedded import Servers
from app.errors import NotFound
from app.ingest.ports import NewDocument
from app.stores.passages import PgPassages
from app.stores.vector_indexes import VectorIndexes
from tests.support.pg_stores import ENCODER, Stores, unit

FROM = 30
# By the session's own searches, those of which it has not told yet.
SCANS = """
SELECT coalesce(sum(pg_stat_get_xact_numscans(i.indexrelid)), 0) AS scans
  FROM pg_index i WHERE i.indexrelid = to_regclass(
      'rag_embedding_hnsw_p' || $1::bigint || '_e' || (SELECT id FROM encoders WHERE name = $2))
"""
SEARCH = """
SELECT text FROM search_vectors(
    enter($1, 'owner', 'owner', NULL), $2, (SELECT id FROM encoders WHERE name = $3), $4, $5, 1,
    NULL, 1, 40)
"""
BUILD = """
SELECT vector_index_definition($1, e.id, e.dimension) AS statement FROM encoders e WHERE name = $2
"""


@pytest.fixture
def indexes(migrated: Servers) -> VectorIndexes:
    return VectorIndexes(migrated.owner_url, FROM)


async def filled(stores: Stores, scope: Scope, name: str) -> int:
    portfolio = await stores.portfolio(scope)
    lines = "\n".join(f"{name} {number}" for number in range(FROM))
    await stores.add(scope, portfolio.id, NewDocument(name, lines, name))
    return portfolio.id


async def written(stores: Stores) -> bool:
    [row] = await stores.behind("SELECT graphs_written() AS yes")
    return bool(row["yes"])


async def searched(stores: Stores, scope: Scope, portfolio_id: int, line: str) -> tuple[str, bool]:
    """The nearest text, and whether it was the graph that found it."""
    query = unit(random.Random(line))
    async with stores.database.transaction(scope) as connection:
        before = await connection.fetchval(SCANS, portfolio_id, ENCODER)
        text = await connection.fetchval(
            SEARCH, scope.tenant_id, portfolio_id, ENCODER, len(query), query
        )
        return text, await connection.fetchval(SCANS, portfolio_id, ENCODER) > before


async def test_each_graph_is_searched_by_its_own_statement(
    stores: Stores, scope: Scope, indexes: VectorIndexes
) -> None:
    ids = {name: await filled(stores, scope, name) for name in "abcde"}
    await indexes.update()
    assert await written(stores)
    for name, portfolio_id in ids.items():
        found = await searched(stores, scope, portfolio_id, f"{name} 7")
        assert found == (f"{name} 7", True)


async def test_an_index_that_no_statement_knows_is_written_down(
    stores: Stores, scope: Scope, indexes: VectorIndexes
) -> None:
    """As a process leaves it that was killed between the two."""
    portfolio_id = await filled(stores, scope, "new")
    [row] = await stores.behind(BUILD, portfolio_id, ENCODER)
    await stores.behind(row["statement"])
    assert not await written(stores)
    assert await searched(stores, scope, portfolio_id, "new 3") == ("new 3", False)
    outcome = await indexes.update()
    assert (outcome.built, outcome.dropped) == (0, 0)
    assert await searched(stores, scope, portfolio_id, "new 3") == ("new 3", True)


async def test_a_statement_without_its_index_is_exact(
    stores: Stores, scope: Scope, indexes: VectorIndexes
) -> None:
    portfolio_id = await filled(stores, scope, "old")
    await indexes.update()
    assert (await searched(stores, scope, portfolio_id, "old 3"))[1]  # planned with it
    await stores.behind(
        "DO $$ BEGIN EXECUTE (SELECT 'DROP INDEX ' || vector_index("
        f"{portfolio_id}, id) FROM encoders WHERE name = '{ENCODER}'); END $$"
    )
    assert await searched(stores, scope, portfolio_id, "old 3") == ("old 3", False)
    assert (await indexes.update()).built == 1
    assert await searched(stores, scope, portfolio_id, "old 3") == ("old 3", True)


async def test_a_graph_is_not_there_for_another_tenant(
    stores: Stores, scope: Scope, indexes: VectorIndexes
) -> None:
    portfolio_id = await filled(stores, scope, "theirs")
    await indexes.update()
    passages = PgPassages(stores.database, exact_below_chunks=1, ef_search=40)
    query = unit(random.Random("theirs 1"))
    assert await passages.vector_search(scope, portfolio_id, ENCODER, query, 5, {})
    with pytest.raises(NotFound):
        await passages.vector_search(await stores.tenant(), portfolio_id, ENCODER, query, 5, {})


async def test_filters_put_a_relaxed_order_right(
    stores: Stores, scope: Scope, indexes: VectorIndexes
) -> None:
    portfolio = await stores.portfolio(scope)
    for number in range(60):
        name = f"d{number}"
        text = f"{name} 1\n{name} 2"
        await stores.add(
            scope, portfolio.id, NewDocument(name, text, name, {"odd": bool(number % 2)})
        )
    await indexes.update()
    passages = PgPassages(stores.database, exact_below_chunks=1, ef_search=10)
    for number in range(10):
        query = unit(random.Random(number))
        hits = await passages.vector_search(scope, portfolio.id, ENCODER, query, 20, {"odd": True})
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len({hit.chunk_id for hit in hits}) == 20
