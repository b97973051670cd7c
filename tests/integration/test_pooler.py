"""Behind PgBouncer in transaction mode: the real one, with two connections for everybody."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text

from app.bootstrap import Settings, migrate
from app.bootstrap.schema import wait_until_migrated
from app.chat.model import Claim, Scope
from app.embedded import Servers
from app.errors import DatabaseUnavailable, Unauthorized
from app.production.servers import complaints_of_servers
from app.stores.database import Database
from tests.support.live import Live, live_service
from tests.support.pg_stores import Stores
from tests.support.pgbouncer import pooler
from tests.support.waiting import until

TENANTS, REQUESTS, SERVER_CONNECTIONS = 10, 1_000, 2
# The tenants whose agents a statement sees, as whom it is asked, and on which connection.
SEEN = """
SELECT array_agg(DISTINCT tenant_id) AS seen, current_setting('app.tenant_id') AS entered_as,
       pg_backend_pid(), current_setting('jit') AS jit, current_setting('plan_cache_mode') AS plans
  FROM agents
"""
# As the question path does: one statement sets its tenant itself.
ENTER_AND_SEE = f"""
WITH entered AS MATERIALIZED (SELECT enter($1, 'owner', 'owner', NULL) AS tenant)
SELECT s.* FROM entered e, LATERAL ({SEEN} WHERE e.tenant IS NOT NULL) s
"""
SLEEPING = """
SELECT count(*) FROM pg_stat_activity
 WHERE query LIKE '%pg_sleep(600)%' AND state = 'active' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
async def pooled_url(migrated: Servers) -> AsyncIterator[str]:
    async with pooler(migrated.app_url, SERVER_CONNECTIONS) as url:
        yield url


@pytest.fixture(scope="module")
async def database(stores: Stores, pooled_url: str) -> AsyncIterator[Database]:
    """More connections to the pooler than that has to the server."""
    opened = await Database.open(pooled_url, pool_size=20, pooler=True, timeout_seconds=30)
    try:
        yield opened
    finally:
        await opened.close()


async def in_one_statement(database: Database, scope: Scope) -> tuple[Any, ...]:
    [row] = await database.fetch(ENTER_AND_SEE, scope.tenant_id)
    return tuple(row)


async def in_a_transaction(database: Database, scope: Scope) -> tuple[Any, ...]:
    async with database.transaction(scope) as connection:
        first, second = [tuple(await connection.fetchrow(SEEN)) for _ in range(2)]
        assert first == second
        return first


async def in_a_session(database: Database, scope: Scope) -> tuple[Any, ...]:
    async with database.session(scope) as session:
        first, second = [tuple((await session.execute(text(SEEN))).one()) for _ in range(2)]
        assert first == second
        return first


async def as_reading(database: Database, caller: Scope | Claim) -> tuple[Any, ...]:
    [row] = await database.read(caller, SEEN)
    return tuple(row.values())


WAYS = (in_one_statement, in_a_transaction, in_a_session, as_reading)


async def test_tenants_on_one_connection_never_see_each_other(
    stores: Stores, database: Database
) -> None:
    scopes = [await stores.tenant() for _ in range(TENANTS)]
    for scope in scopes:
        await stores.agents.create(scope, {"name": f"of {scope.tenant_id}"})
    tenants_on: dict[int, set[int]] = defaultdict(set)

    async def ask(number: int) -> None:
        scope = scopes[number % TENANTS]
        way = WAYS[number // TENANTS % len(WAYS)]
        tenants, tenant, backend, *settings = await way(database, scope)
        assert (tenants, tenant) == ([scope.tenant_id], str(scope.tenant_id))
        assert settings == ["off", "auto"]
        tenants_on[backend].add(scope.tenant_id)

    await asyncio.gather(*(ask(number) for number in range(REQUESTS)))
    assert len(tenants_on) == SERVER_CONNECTIONS
    assert all(len(tenants) == TENANTS for tenants in tenants_on.values())


async def test_nothing_is_left_behind_a_transaction(stores: Stores, database: Database) -> None:
    scope = await stores.tenant()
    for way in WAYS:
        await way(database, scope)
        with_nobody = await asyncio.gather(
            *(
                database.fetch(
                    "SELECT nullif(current_setting('app.tenant_id', true), ''), "
                    "(SELECT count(*) FROM pg_prepared_statements), "
                    "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                    "AND pid = pg_backend_pid()), (SELECT count(*) FROM agents)"
                )
                for _ in range(2 * SERVER_CONNECTIONS)
            )
        )
        assert {tuple(rows[0]) for rows in with_nobody} == {(None, 0, 0, 0)}


async def test_a_claim_is_looked_up_with_what_is_read(stores: Stores, database: Database) -> None:
    scope = await stores.tenant()
    await stores.agents.create(scope, {"name": "a"})
    _, secret = await stores.keys.create(scope, {"name": "k", "role": "member"})
    claim = stores.credentials.claim(secret)
    assert claim is not None
    tenants, tenant, _, *settings = await as_reading(database, claim)
    assert (tenants, tenant) == ([scope.tenant_id], str(scope.tenant_id))
    assert settings == ["off", "auto"]
    with pytest.raises(Unauthorized):
        await as_reading(database, Claim(b"nobody's"))


async def test_a_failed_statement_frees_its_connection(stores: Stores, database: Database) -> None:
    scope = await stores.tenant()
    for _ in range(2 * SERVER_CONNECTIONS):
        with pytest.raises(Exception, match="A value cannot be stored"):
            await database.fetch("SELECT 1 / $1::int", 0)
    async with asyncio.timeout(20):
        await asyncio.gather(*(in_one_statement(database, scope) for _ in range(40)))


async def test_a_cancelled_statement_ends_on_the_server(stores: Stores, database: Database) -> None:
    scope = await stores.tenant()

    async def running(count: int) -> bool:
        return (await stores.behind(SLEEPING))[0][0] == count

    async def in_a_transaction_of_the_tenant() -> None:
        async with database.transaction(scope) as connection:
            await connection.execute("SELECT pg_sleep(600)")

    async def in_a_session_of_the_tenant() -> None:
        async with database.session(scope) as session:
            await session.execute(text("SELECT pg_sleep(600)"))

    for slow in (
        lambda: database.fetch("SELECT pg_sleep(600)"),
        in_a_transaction_of_the_tenant,
        in_a_session_of_the_tenant,
    ):
        waiting = [asyncio.ensure_future(slow()) for _ in range(SERVER_CONNECTIONS)]
        await until(lambda: running(SERVER_CONNECTIONS))
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await until(lambda: running(0))
        async with asyncio.timeout(20):
            seen = await asyncio.gather(*(way(database, scope) for way in WAYS * 10))
        assert {each[1] for each in seen} == {str(scope.tenant_id)}


async def test_without_the_setting_the_start_says_which(pooled_url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="CITESTREAM_DATABASE__POOLER=true"):
        await Database.open(pooled_url)


@pytest.fixture(scope="module")
async def service(
    fresh_database: Callable[[], Awaitable[Servers]], encoder_url: str
) -> AsyncIterator[Live]:
    servers = await fresh_database()
    owner, encoder = servers.owner_url, {"url": encoder_url}
    async with pooler(servers.app_url, SERVER_CONNECTIONS) as url:
        waiting = asyncio.create_task(
            wait_until_migrated(Settings(database_url=url), lambda _: None)
        )
        await migrate(Settings(database_owner_url=owner, encoder=encoder))
        await waiting
        async with live_service(
            database_url=url,
            database_owner_url=owner,
            redis_url=servers.redis_url,
            encoder=encoder,
            database={"pooler": True, "pool_size": 6},
        ) as live:
            yield live


async def test_the_service_answers_streams_and_indexes(service: Live) -> None:
    portfolio = await service.portfolio(
        "pooled", Leave="Everyone has 30 days of leave a year.", Tea="Tea is at four o'clock."
    )
    agent = await service.agent("pooled", portfolio)
    answers = await asyncio.gather(
        *(service.ask(agent, f"How many days of leave are there, {n}?") for n in range(12))
    )
    assert all("30 days" in each["answer"] for each in answers)
    events = await service.stream(agent, "When is tea?")
    assert events[-1]["type"] == "done"
    text_of = "".join(each["content"] for each in events if each["type"] == "token")
    assert "four" in text_of
    again = await service.ask(agent, "When is tea?")
    assert again["cached"] is True
    await service.add(portfolio, Tea="Tea is at five o'clock.")
    assert "five" in (await service.ask(agent, "When is tea?"))["answer"]


async def test_production_asks_a_pooler_for_its_role(pooled_url: str) -> None:
    for _ in range(2):  # the same connection of the server again
        assert await complaints_of_servers(Settings(database_url=pooled_url)) == []


async def test_a_statement_may_be_cut_off_at_any_moment(
    stores: Stores, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Also while its transaction begins or ends; asyncpg would say so, and clean up."""
    scope = await stores.tenant()
    for turns in range(60):
        asking = asyncio.ensure_future(in_one_statement(database, scope))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    async with asyncio.timeout(20):
        await asyncio.gather(*(in_one_statement(database, scope) for _ in range(40)))
    assert not caplog.records
