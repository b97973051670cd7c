"""More of everything, for `app.bench.scale`: portfolios, messages, chunks, and another database."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis

from app.bench.installation import SHORT, TENANT, Agents, Site
from app.bench.library import fill, fill_small, questions
from app.embedded import Servers
from app.embedded.postgres import (
    DATABASE,
    EXTENSION_STATEMENT,
    OWNER,
    SUPERUSER,
    database_statements,
)
from app.stores.migrate import as_owner
from app.stores.tenants import digest_of

SECOND = "citestream_second"
MEGABYTES = 2048
CONVERSATIONS = """
INSERT INTO conversations (id, tenant_id, agent_id, title, subject)
SELECT uuidv7(), $1, $2, 'bench', 'key:' || k.id
  FROM generate_series(1, $3), api_keys k WHERE k.key_hash = $4
RETURNING conversations.id
"""
# A question and its answer in turn, as long as usual ones.
MESSAGES = """
INSERT INTO messages (id, tenant_id, conversation_id, role, content, status)
SELECT uuidv7(), $1, c, CASE n % 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
       CASE n % 2 WHEN 1 THEN $2 ELSE $3 END, 'complete'
  FROM unnest($4::uuid[]) c, generate_series(1, $5) n ORDER BY c, n
"""
ANSWER = "The projects that were finished last year used a smaller team than planned. " * 5


async def add_portfolios(site: Site, count: int) -> None:
    """So many, of ten chunks each."""
    library, database = site.agents.library, site.agents.database
    await fill_small(database, site.servers.owner_url, library.encoder, library.scope, count)


async def add_chunks(site: Site, chunks: int, say: Callable[[str], None]) -> Agents:
    """Agents on another portfolio, of so many chunks."""
    library, database = site.agents.library, site.agents.database
    say(f"A portfolio of {chunks:,} chunks is being made")
    large = await fill(
        database, site.servers.owner_url, library.encoder, library.scope, chunks, on_progress=say
    )
    return Agents(database, large, site.agents.key)


async def add_conversations(site: Site, count: int, messages: int) -> Sequence[str]:
    """Ids of so many conversations with the agent for SHORT answers, each of so many messages."""
    agent = await site.agents.of_model(SHORT)
    tenant, key = site.agents.library.scope.tenant_id, digest_of(site.agents.key)
    async with as_owner(site.servers.owner_url) as owner:
        await owner.execute(TENANT, str(tenant))
        ids = [row["id"] for row in await owner.fetch(CONVERSATIONS, tenant, agent, count, key)]
        await owner.execute(MESSAGES, tenant, questions(0, 1)[0], ANSWER, ids, messages)
        await owner.execute("VACUUM ANALYZE conversations")
        await owner.execute("VACUUM ANALYZE messages")
    return [str(each) for each in ids]


async def second_database(servers: Servers, redis_number: int) -> Servers:
    """An empty database of the same Postgres, and another one of the same Redis."""

    def of(url: str) -> str:
        return url.replace(f"/{DATABASE}?", f"/{SECOND}?", 1)

    behind = servers.owner_url.replace(OWNER, SUPERUSER, 1)
    await _execute(behind, *database_statements(SECOND))
    await _execute(of(behind), EXTENSION_STATEMENT)
    return replace(
        servers,
        owner_url=of(servers.owner_url),
        app_url=of(servers.app_url),
        redis_url=numbered(servers.redis_url, redis_number),
    )


def numbered(redis_url: str, number: int) -> str:
    """The address of another database of the same Redis."""
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return f"{redis_url}?db={number}"
    return parts._replace(path=f"/{number}").geturl()


async def give_room(redis_url: str) -> None:
    """Memory for what is measured: a Redis that is full forgets."""
    redis = Redis.from_url(redis_url)
    await redis.config_set("maxmemory", f"{MEGABYTES}mb")
    await redis.aclose()


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
