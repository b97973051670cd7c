"""A search of tables that were filled just now, of which the planner knows nothing: it reads the
question's words, and not all of the portfolio's."""

from collections.abc import AsyncIterator

import pytest

from app.chat.model import Scope
from app.embedded import Servers
from app.ingest.ports import NewDocument
from app.stores.database import Database
from app.stores.keywords import PgKeywords
from tests.support.pg_stores import Stores

CHUNKS = 3000
FORGET = (
    "DELETE FROM pg_statistic WHERE starelid = ANY ($1::regclass[])",
    "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE oid = ANY ($1::regclass[])",
)
TABLES = ["rag_terms", "rag_frequencies", "rag_mention", "rag_chunk", "documents"]
READ = "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relname = $1"


@pytest.fixture(scope="module")
async def filled(stores: Stores) -> tuple[Scope, int]:
    """Each chunk has a word of its own, and ten of five hundred."""
    scope = await stores.tenant()
    portfolio = (await stores.portfolio(scope)).id
    lines = [
        f"word{n}x is what Hub{n % 30} has for "
        + " and ".join(f"Name{(n * 7 + k * 13) % 500}" for k in range(10))
        for n in range(CHUNKS)
    ]
    await stores.add(scope, portfolio, NewDocument("many", "\n".join(lines), "many"))
    for statement in FORGET:
        await stores.behind(statement, TABLES)
    return scope, portfolio


@pytest.fixture
async def database(migrated: Servers, filled: object) -> AsyncIterator[Database]:
    """With a session that has planned nothing before."""
    opened = await Database.open(migrated.app_url, pool_size=1)
    yield opened
    await opened.close()


async def read(stores: Stores, database: Database, table: str) -> int:
    await database.fetch("SELECT pg_stat_force_next_flush()")
    await database.ping()
    [row] = await stores.behind(READ, table)
    return int(row[0])


async def test_keyword_search_reads_the_questions_words_alone(
    stores: Stores, database: Database, filled: tuple[Scope, int]
) -> None:
    scope, portfolio = filled
    before = await read(stores, database, "rag_frequencies")
    found = await PgKeywords(database).keyword_search(
        scope, portfolio, "What is word77x or word5x for Name7?", "en", 10, {}
    )
    assert {hit.text.split()[0] for hit in found[:2]} == {"word77x", "word5x"}
    assert await read(stores, database, "rag_frequencies") - before < 100  # of 3,500
