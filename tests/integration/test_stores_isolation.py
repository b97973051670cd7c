"""No tenant sees or changes what is another's: by policy on every table, and in every method."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from app.chat.model import Question
from app.embedded import Servers
from app.errors import NotFound
from app.ingest.ports import NewDocument
from app.stores.database import ENTER, who
from tests.support.pg_stores import DIMENSION, ENCODER, Filled, Stores, fill, turn

OWNED = """
SELECT c.relname AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced
  FROM pg_class c
 WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
   AND (c.relname = 'tenants' OR EXISTS (
       SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'))
 ORDER BY 1
"""
CONDITION = "(NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::bigint)"
ONCE = f'( SELECT {CONDITION[:-1]} AS "nullif"))'  # asked once a statement, not for each row
READ_MUCH = {"rag_embedding", "rag_mention"}


@pytest.fixture(scope="module")
async def filled(stores: Stores) -> Filled:
    return await fill(stores)


async def test_every_owned_table_and_partition_has_the_forced_policy(stores: Stores) -> None:
    tables = await stores.behind(OWNED)
    policies = await stores.behind(
        "SELECT tablename, roles::text[], cmd, qual, with_check FROM pg_policies "
        "WHERE policyname = 'tenant_isolation'"
    )
    column = {row["name"]: "tenant_id" for row in tables} | {"tenants": "id"}
    assert len(tables) >= 29  # 12 tables, tenants, and 16 partitions
    assert {row["name"] for row in tables if row["enabled"] and row["forced"]} == set(column)
    assert {row["tablename"]: row["qual"] for row in policies} == {
        name: f"({owner} = {ONCE if name in READ_MUCH else CONDITION}"
        for name, owner in column.items()
    }
    for row in policies:
        assert (row["roles"], row["cmd"]) == (["public"], "ALL")
        assert row["qual"] == row["with_check"]


async def test_only_the_owner_looks_across_and_only_where_it_must(stores: Stores) -> None:
    others = await stores.behind(
        "SELECT tablename, roles::text[], cmd FROM pg_policies "
        "WHERE policyname <> 'tenant_isolation' AND permissive = 'PERMISSIVE' ORDER BY 1, 3"
    )
    assert [tuple(row.values()) for row in others] == [
        ("api_keys", ["citestream_owner"], "SELECT"),
        ("audit_log", ["citestream_owner"], "DELETE"),  # both: what is old, all tenants' at once
        ("audit_log", ["citestream_owner"], "SELECT"),
        ("document_uploads", ["citestream_owner"], "ALL"),
        ("idempotency_keys", ["citestream_owner"], "ALL"),
        ("rag_terms", ["citestream_owner"], "SELECT"),  # keys of words and weights, not texts
        ("runs", ["citestream_owner"], "ALL"),  # whether they are alive, and how they ended
        ("tenants", ["citestream_owner"], "ALL"),
        ("users", ["citestream_owner"], "SELECT"),  # whose address a token has
        ("vector_cache", ["citestream_owner"], "DELETE"),  # both: what nobody uses any more
        ("vector_cache", ["citestream_owner"], "SELECT"),
    ]


async def test_the_services_role_owns_nothing_and_is_safe(stores: Stores) -> None:
    report = await stores.database.check_role()
    assert report.role == "citestream_app"
    assert report.safe
    [row] = await stores.behind(
        "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner "
        "WHERE r.rolname = 'citestream_app'"
    )
    assert row["count"] == 0


async def test_a_role_that_could_step_past_is_reported(superuser_url: str) -> None:
    from app.stores.database import Database

    database = await Database.open(superuser_url)
    try:
        report = await database.check_role()
    finally:
        await database.close()
    assert report.superuser
    assert not report.safe


async def counted(connection: asyncpg.Connection, tables: list[str], has_rows: bool) -> None:
    for table in tables:
        if table.startswith("rag_embedding_p"):  # reached through their parent only
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="denied"):
                async with connection.transaction():
                    await connection.fetchval(f"SELECT count(*) FROM {table}")
            continue
        count = await connection.fetchval(f"SELECT count(*) FROM {table}")
        assert (count > 0) == has_rows, table


async def test_without_a_tenant_there_are_no_rows(
    stores: Stores, filled: Filled, migrated: Servers
) -> None:
    tables = [row["name"] for row in await stores.behind(OWNED)]
    connection = await asyncpg.connect(migrated.app_url)
    try:
        for tenant in ("never entered", None, filled.scope.tenant_id):
            async with connection.transaction():
                if tenant != "never entered":
                    await connection.execute(ENTER, tenant, *who(filled.scope)[1:])
                await counted(connection, tables, isinstance(tenant, int))
    finally:
        await connection.close()


@pytest.mark.parametrize("setting", [None, "0"])
async def test_rows_of_another_tenant_are_refused(
    stores: Stores, filled: Filled, migrated: Servers, setting: str | None
) -> None:
    tables = await stores.behind(
        "SELECT table_name AS name FROM information_schema.role_table_grants "
        "WHERE grantee = 'citestream_app' AND privilege_type = 'INSERT'"
    )
    assert len(tables) >= 11
    connection = await asyncpg.connect(migrated.app_url)
    try:
        if setting is not None:
            await connection.execute("SELECT set_config('app.tenant_id', $1, false)", setting)
        for row in tables:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await connection.execute(
                    f"INSERT INTO {row['name']} (tenant_id) VALUES ($1)", filled.scope.tenant_id
                )
    finally:
        await connection.close()


async def test_foreign_ids_are_not_found_in_every_method(stores: Stores, filled: Filled) -> None:
    scope, vector = await stores.tenant(), [1.0] + [0.0] * (DIMENSION - 1)
    own_agent = (await stores.agents.create(scope, {"name": "own"})).id
    new = [NewDocument("t", "text")]

    def calls(agent: int, portfolio: int, document: int) -> list[Callable[[], Awaitable[Any]]]:
        s = stores
        return [
            lambda: s.agents.get(scope, agent),
            lambda: s.agents.update(scope, agent, {"name": "x"}),
            lambda: s.agents.delete(scope, agent),
            lambda: s.agents.create(scope, {"name": "y", "portfolio_id": portfolio}),
            lambda: s.agents.update(scope, own_agent, {"portfolio_id": portfolio}),
            lambda: s.portfolios.get(scope, portfolio),
            lambda: s.portfolios.update(scope, portfolio, {"name": "x"}),
            lambda: s.portfolios.delete(scope, portfolio),
            lambda: s.documents.accept(scope, portfolio, new),
            lambda: s.documents.list(scope, portfolio, 10, None),
            lambda: s.documents.get(scope, document),
            lambda: s.documents.delete(scope, document),
            lambda: s.invalidation.raise_epoch(scope, agent, None),
            lambda: s.invalidation.raise_epoch(scope, None, portfolio),
            lambda: s.invalidation.raise_epoch(scope, own_agent, portfolio),
            lambda: s.conversations.load(scope, Question(agent, "?")),
            lambda: s.conversations.load(scope, Question(own_agent, "?", portfolio)),
            lambda: s.passages.vector_search(scope, portfolio, ENCODER, vector, 5, {}),
            lambda: s.keywords.keyword_search(scope, portfolio, "atlas", "en", 5, {}),
            lambda: s.graph.neighbourhood(scope, portfolio, ["atlas"], {}),
        ]

    foreign = (filled.agent_id, filled.portfolio_id, filled.document_id)
    for ids in (foreign, (2**63,) * 3, (2**100,) * 3, (-1,) * 3, (2**63 - 1,) * 3):
        for number, call in enumerate(calls(*ids)):
            with pytest.raises(NotFound):
                await call()
                pytest.fail(f"call {number} with {ids}")
    for conversation in (filled.conversation_id, uuid4()):
        with pytest.raises(NotFound):
            await stores.history.get(scope, conversation)
        with pytest.raises(NotFound):
            await stores.history.delete(scope, conversation)
        with pytest.raises(NotFound):
            await stores.conversations.load(
                scope, Question(own_agent, "?", conversation_id=conversation)
            )
    with pytest.raises(NotFound):
        await stores.conversations.load(scope, Question("helper", "?"))


async def test_a_turn_cannot_be_stored_under_what_is_foreign(
    stores: Stores, filled: Filled
) -> None:
    scope = await stores.tenant()
    agent = await stores.agents.create(scope, {"name": "own"})
    foreign_agent, foreign_conversation = turn(filled.agent_id), filled.conversation_id
    for foreign in (foreign_agent, turn(agent.id, foreign_conversation)):
        with pytest.raises(NotFound):
            await stores.conversations.store_turn(scope, foreign)
    made = await stores.behind(
        "SELECT count(*) FROM runs WHERE tenant_id = $1 OR id = $2",
        scope.tenant_id,
        foreign_agent.run_id,
    )
    assert made[0]["count"] == 0


async def test_lists_hold_the_tenants_own_only(stores: Stores, filled: Filled) -> None:
    scope = await stores.tenant()
    assert (await stores.agents.list(scope, 100, None)).items == []
    assert (await stores.portfolios.list(scope, 100, None)).items == []
    assert (await stores.history.list(scope, 100, None)).items == []
    assert len((await stores.history.list(filled.scope, 100, None)).items) == 1
