"""Up, down, up; many at once; killed in between; and what the first start puts in."""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

import app
from app.embedded import Servers
from app.errors import DatabaseUnavailable
from app.stores import migrate
from app.stores.database import Database
from app.stores.prepare import prepare
from app.stores.vector_indexes import VectorIndexes

# All but the last.
REVISIONS = [f"{number:04}" for number in range(1, int(migrate.head()))]

Fresh = Callable[[], Awaitable[Servers]]

START = """
import asyncio, sys, time
from app.stores.migrate import upgrade
from app.stores.prepare import prepare

async def main(url):
    started = time.perf_counter()
    await upgrade(url)
    took = time.perf_counter() - started
    await prepare(url, "encoder@1", 8)
    print("alembic" in sys.modules, took)

asyncio.run(main(sys.argv[1]))
"""

HNSW = "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%USING hnsw%'"
VECTORS = """
WITH tenant AS MATERIALIZED (SELECT set_config('app.tenant_id', '1', false)), document AS (
    INSERT INTO documents (tenant_id, portfolio_id, title, content_hash, status, chunk_count)
    SELECT 1, 1, 'Title', '', 'indexed', 3 FROM tenant RETURNING id
), chunks AS (
    INSERT INTO rag_chunk (tenant_id, portfolio_id, document_id, ordinal, start_char, end_char,
                           text, language)
    SELECT 1, 1, d.id, n, 0, 1, substr('abc', n, 1), 'en' FROM document d, generate_series(1, 3) n
    RETURNING id, ordinal
), counted AS (
    UPDATE portfolios SET chunk_count = 3 WHERE id = 1
)
INSERT INTO rag_embedding (portfolio_id, chunk_id, encoder_id, tenant_id, embedding)
SELECT 1, id, 1, 1, (ARRAY['[2,0]', '[-1,0]', '[0,1]'])[ordinal]::halfvec FROM chunks
"""
SCHEMA = """
SELECT 'column', table_name::text, column_name::text, data_type || coalesce(column_default, '')
  FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
UNION ALL
SELECT 'index', tablename, indexname, indexdef FROM pg_indexes
 WHERE schemaname = 'public' AND tablename <> 'alembic_version'
UNION ALL
SELECT 'policy', tablename, policyname, qual || coalesce(with_check, '') FROM pg_policies
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
   AND conrelid IS DISTINCT FROM to_regclass('alembic_version')
UNION ALL
SELECT 'grant', table_name, grantee, privilege_type FROM information_schema.role_table_grants
 WHERE table_schema = 'public' AND table_name <> 'alembic_version'
UNION ALL
SELECT 'function', proname, pg_get_function_identity_arguments(p.oid),
       concat_ws(' ', p.proacl::text, p.provolatile, p.proconfig::text, md5(p.prosrc))
  FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (
       SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
ORDER BY 1, 2, 3, 4
"""


async def schema(url: str) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in await query(url, SCHEMA)]


async def query(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


async def start(url: str) -> asyncio.subprocess.Process:
    """A process of its own that migrates, in no particular folder."""
    environment = {**os.environ, "PYTHONPATH": str(Path(app.__file__).parent.parent)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", START, url, env=environment, cwd="/", stdout=asyncio.subprocess.PIPE
    )


async def test_up_down_up(fresh_database: Fresh) -> None:
    url = (await fresh_database()).owner_url
    empty = await schema(url)
    await migrate.upgrade(url)
    first = await schema(url)
    assert len(first) > 300
    await migrate.check(url)
    before = {"head": first}
    for revision in reversed(REVISIONS):
        await migrate.downgrade(url, revision)
        before[revision] = await schema(url)
    await migrate.downgrade(url, "base")
    assert await schema(url) == empty
    assert await migrate.current(url) is None
    for revision in (*REVISIONS, "head"):
        await migrate.upgrade(url, revision)
        assert await schema(url) == before[revision], revision
    assert await migrate.current(url) == migrate.head()


async def test_check_finds_a_difference(fresh_database: Fresh) -> None:
    url = (await fresh_database()).owner_url
    await migrate.upgrade(url)
    await query(url, "ALTER TABLE agents ADD COLUMN surprise text")
    with pytest.raises(migrate.MigrationFailed, match="surprise"):
        await migrate.check(url)


async def test_foreign_keys_are_indexed(migrated: Servers) -> None:
    """But those to encoders, which are never deleted: nobody looks for what is an encoder's."""
    unindexed = await query(
        migrated.owner_url,
        "SELECT conrelid::regclass::text AS name, pg_get_constraintdef(c.oid) AS key "
        "FROM pg_constraint c WHERE contype = 'f' AND conparentid = 0 "
        "AND connamespace = 'public'::regnamespace AND NOT EXISTS ("
        "SELECT FROM pg_index i WHERE i.indrelid = c.conrelid "
        "AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey) ORDER BY 1, 2",
    )
    assert [tuple(row.values()) for row in unindexed] == [
        ("portfolios", "FOREIGN KEY (encoder_id) REFERENCES encoders(id)"),
        ("portfolios", "FOREIGN KEY (next_encoder_id) REFERENCES encoders(id)"),
        ("rag_embedding", "FOREIGN KEY (encoder_id) REFERENCES encoders(id)"),
        ("vector_cache", "FOREIGN KEY (encoder_id) REFERENCES encoders(id)"),
    ]


async def test_eight_processes_at_once(fresh_database: Fresh) -> None:
    url = (await fresh_database()).owner_url
    processes = [await start(url) for _ in range(8)]
    outputs = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0] * 8, outputs
    assert await migrate.current(url) == migrate.head()
    for table in ("tenants", "encoders"):
        [row] = await query(url, f"SELECT count(*) FROM {table}")
        assert row["count"] == 1

    late = await start(url)  # at the head already: Alembic is not even imported
    output, _ = await late.communicate()
    imported, seconds = output.decode().split()
    assert imported == "False"
    assert float(seconds) < 0.1


async def test_a_killed_leader_leaves_the_work_to_the_next(fresh_database: Fresh) -> None:
    url = (await fresh_database()).owner_url
    blocker = await asyncpg.connect(url)
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("CREATE TABLE runs ()")  # the last table: the leader waits half-way
    leader = await start(url)
    waiting = (
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database()"
    )
    async with asyncio.timeout(30):
        while not await query(url, waiting):
            pass
    leader.kill()
    await leader.communicate()
    next_one = asyncio.create_task(migrate.upgrade(url))
    await transaction.rollback()
    await blocker.close()
    await next_one
    await migrate.check(url)
    assert await migrate.current(url) == migrate.head()


async def test_the_applications_logging_is_left_alone(
    fresh_database: Fresh, capsys: pytest.CaptureFixture[str]
) -> None:
    url = (await fresh_database()).owner_url
    root, ours = logging.getLogger(), logging.getLogger("app.test_migrations")
    before = (root.level, list(root.handlers), ours.disabled, logging.getLogger("alembic").level)
    await migrate.upgrade(url)
    await migrate.check(url)
    after = (root.level, list(root.handlers), ours.disabled, logging.getLogger("alembic").level)
    assert before == after
    assert capsys.readouterr() == ("", "")


async def test_prepare_never_resurrects_what_was_deleted(fresh_database: Fresh) -> None:
    url = (await fresh_database()).owner_url
    await migrate.upgrade(url)
    await prepare(url, "encoder@1", 8)
    as_tenant = "WITH t AS MATERIALIZED (SELECT set_config('app.tenant_id', '1', false)) "
    [row] = await query(url, f"{as_tenant} SELECT a.name, p.name AS portfolio FROM t, agents a "
                        "JOIN portfolios p ON p.id = a.portfolio_id")  # fmt: skip
    assert tuple(row.values()) == ("default", "sample")
    for table in ("agents", "portfolios"):
        await query(url, f"{as_tenant} DELETE FROM {table} WHERE tenant_id = (SELECT 1 FROM t)")
    await prepare(url, "encoder@1", 8)
    for table in ("agents", "portfolios"):
        assert await query(url, f"{as_tenant} SELECT FROM {table}, t") == []


async def test_an_encoder_is_registered_once_and_without_an_index(fresh_database: Fresh) -> None:
    url = (await fresh_database()).owner_url
    await migrate.upgrade(url)
    for name, dimension in (("small@1", 8), ("large@1", 1024), ("small@1", 8)):
        await prepare(url, name, dimension)
    rows = await query(url, "SELECT name, dimension FROM encoders ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [("small@1", 8), ("large@1", 1024)]
    assert await query(url, HNSW) == []
    for name, dimension in (("small@1", 9), ("none@1", 0), ("huge@1", 5000)):
        with pytest.raises(migrate.MigrationFailed, match="dimensions"):
            await prepare(url, name, dimension)


async def test_shared_indexes_go_and_search_finds_the_same(fresh_database: Fresh) -> None:
    """Up, down and up again on a database with vectors, in every state of the indexes."""
    url = (await fresh_database()).owner_url
    await migrate.upgrade(url, "0007")
    await prepare(url, "small@1", 2)
    assert len(await query(url, HNSW)) == 16
    await query(url, VECTORS)
    searched = [await search(url)]
    await migrate.upgrade(url, "0008")
    assert await query(url, HNSW) == []
    searched.append(await search(url))
    await VectorIndexes(url, 3).update()
    assert len(await query(url, HNSW)) == 1
    searched.append(await search(url))
    await migrate.downgrade(url, "0007")
    assert await query(url, HNSW) == []
    searched.append(await search(url))
    await prepare(url, "small@1", 2)  # as the former version did: where nothing is, at once
    assert len(await query(url, HNSW)) == 15
    await migrate.upgrade(url, "0008")
    searched.append(await search(url))
    assert searched == [[("a", 1.0), ("c", 0.0), ("b", -1.0)]] * 5


async def search(url: str) -> list[tuple[str, float]]:
    rows = await query(
        url, "SELECT text, score FROM search_vectors(1, 1, 1, 2, '[1,0]', 5, '{}', 1, 100)"
    )
    return [(row["text"], round(row["score"], 3)) for row in rows]


async def test_a_missing_extension_is_named(fresh_database: Fresh, superuser_url: str) -> None:
    fresh = await fresh_database()
    superuser = of_database(superuser_url, fresh)
    await query(superuser, "DROP EXTENSION vector")
    with pytest.raises(migrate.MigrationFailed, match="run CREATE EXTENSION vector as a superuser"):
        await migrate.upgrade(fresh.owner_url)
    assert await migrate.current(fresh.owner_url) is None
    await migrate.upgrade(superuser)  # who may create it
    assert await migrate.current(superuser) == migrate.head()


async def test_a_missing_role_is_made_or_named(fresh_database: Fresh, superuser_url: str) -> None:
    fresh = await fresh_database()
    superuser = of_database(superuser_url, fresh)
    await query(superuser, "ALTER ROLE citestream_app RENAME TO aside")
    try:
        with pytest.raises(migrate.MigrationFailed, match="run CREATE ROLE citestream_app LOGIN"):
            await migrate.upgrade(fresh.owner_url)
        await migrate.upgrade(superuser)
        [role] = await query(
            superuser,
            "SELECT rolcanlogin, rolsuper, rolbypassrls FROM pg_roles "
            "WHERE rolname = 'citestream_app'",
        )
        assert tuple(role.values()) == (False, False, False)
        await query(superuser, "DROP OWNED BY citestream_app")
        await query(superuser, "DROP ROLE citestream_app")
    finally:
        await query(superuser, "ALTER ROLE aside RENAME TO citestream_app")


async def test_a_database_that_is_away(tmp_path: Path) -> None:
    url = f"postgresql://citestream_owner@/citestream?host={tmp_path}"
    for call in (migrate.upgrade(url), migrate.check(url), prepare(url, "encoder@1", 8)):
        with pytest.raises(DatabaseUnavailable):
            await call


def of_database(superuser_url: str, fresh: Servers) -> str:
    """The superuser's address of the fresh database."""
    name = fresh.owner_url.partition("?")[0].rpartition("/")[2]
    return superuser_url.replace("/citestream?", f"/{name}?", 1)


async def test_a_service_on_an_empty_database_says_what_to_run(fresh_database: Fresh) -> None:
    database = await Database.open((await fresh_database()).app_url)
    try:
        with pytest.raises(DatabaseUnavailable, match="citestream migrate"):
            await database.installation()
    finally:
        await database.close()
