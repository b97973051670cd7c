"""The stores that connections are shared by, in this process, called by tasks that are cancelled.

Each call reads values that name the tenant they belong to, and says whether they do.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from uuid import UUID

from sqlalchemy import text

from app.api.sse import frame
from app.chat.cache import tenant_tag
from app.chat.events import Token
from app.chat.model import Question
from app.chat.run import Run
from app.encoder.caching import CachingEncoder, pack, unpack
from app.stores.conversations import PgConversations
from app.stores.database import Database
from app.stores.redis_cache import RedisCache
from app.stores.run_streams import RedisRunStreams
from app.stores.tenants import PgCredentials
from tests.soak.cancelling.tenants import Tenant
from tests.support.encoder import HashEncoder
from tests.support.pg_stores import new_id, scope_of, turn

# What the service is shipped with; Redis' deadline cuts calls off in a way of its own.
REDIS_SECONDS = 0.2
PROBE_SECONDS = 0.1
KEYS = 20  # of each tenant
# More than a process keeps by itself, so that most are read from Redis.
TEXTS = 60
FRAMES = 3
GRACE_SECONDS = 3600.0  # nobody produces these runs, and nobody is to stop them
LONG = 60  # repeats of a key in its value: longer than one piece of the network's
NAMES = "SELECT name FROM agents UNION ALL SELECT name FROM portfolios"
ECHO = "SELECT $1::text AS told"

# Whether what was read belongs to whom it was read for; None where nothing was there to be read.
Belongs = bool | None


class Calls:
    """Every way in which a tenant's values go through connections that others use too."""

    def __init__(
        self,
        tenants: Sequence[Tenant],
        chance: random.Random,
        database: Database,
        cache: RedisCache,
        streams: RedisRunStreams,
        runs: Mapping[int, Run],
    ) -> None:
        """`runs` are one for each tenant, by its id."""
        self.tenants = tenants
        self.database = database
        self.cache = cache
        self.streams = streams
        self.encoder = CachingEncoder(HashEncoder(), cache)
        self._chance = chance
        self._plain = HashEncoder()
        self._conversations = PgConversations(database)
        self._credentials = PgCredentials(database)
        self._runs = runs
        self.every: Sequence[Callable[[Tenant], Awaitable[Belongs]]] = (
            self.look_up,
            self.look_up,
            self.put,
            self.vector,
            self.follow,
            self.fetch,
            self.resolve,
            self.load,
            self.claim,
            self.begin,
            self.transaction,
            self.session,
        )

    async def prime(self) -> None:
        """Fill Redis with what is to be read."""
        for tenant in self.tenants:
            for key in self._keys(tenant):
                await self.cache.put(key, _value(key), 3600, ())
            for number in range(TEXTS):
                await self.encoder.embed_query(self._text(tenant, number))
        self.tell_more()

    def tell_more(self) -> None:
        """Let every tenant's run say something more."""
        for tenant in self.tenants:
            self._runs[tenant.scope.tenant_id].append(Token(f"{tenant.mark} goes on. "))

    # --- Redis -----------------------------------------------------------------------------------

    async def look_up(self, tenant: Tenant) -> Belongs:
        keys = self._chance.sample(self._keys(tenant), 3)
        values = await self.cache.get_many(keys)
        if all(value is None for value in values):
            return None
        pairs = zip(keys, values, strict=True)
        return all(value in (None, _value(key)) for key, value in pairs)

    async def put(self, tenant: Tenant) -> Belongs:
        key = self._chance.choice(self._keys(tenant))
        await self.cache.put(key, _value(key), 3600, [tenant_tag(tenant.scope.tenant_id)])
        return None

    async def vector(self, tenant: Tenant) -> Belongs:
        asked = self._text(tenant, self._chance.randrange(TEXTS))
        vector = await self.encoder.embed_query(asked)
        return vector == unpack(pack(await self._plain.embed_query(asked)))

    async def follow(self, tenant: Tenant) -> Belongs:
        run = self._runs[tenant.scope.tenant_id]
        after = self._chance.randrange(max(1, len(run.frames_from(0)) - FRAMES))
        due = run.frames_from(after)[:FRAMES]
        told: list[bytes] = []
        async with aclosing(self.streams.follow(run.scope, run.id, after)) as frames:  # type: ignore[type-var]
            async for each in frames:
                told.append(each)
                if len(told) == len(due):
                    break
        return told == list(due)

    # --- Postgres --------------------------------------------------------------------------------

    async def fetch(self, tenant: Tenant) -> Belongs:
        told = tenant.mark * self._chance.randrange(1, LONG)
        [row] = await self.database.fetch(ECHO, told)
        return bool(row["told"] == told)

    async def resolve(self, tenant: Tenant) -> Belongs:
        return await scope_of(self._credentials, tenant.key) == tenant.scope

    async def load(self, tenant: Tenant) -> Belongs:
        question = Question(tenant.agent_id, tenant.question(0))
        return tenant.owns((await self._conversations.load(tenant.scope, question)).agent.name)

    async def claim(self, tenant: Tenant) -> Belongs:
        claim = self._credentials.claim(tenant.key)
        assert claim is not None
        loaded = await self._conversations.load(claim, Question(tenant.agent_id, "?"))
        return tenant.owns(loaded.agent.name) and loaded.scope == tenant.scope

    async def begin(self, tenant: Tenant) -> Belongs:
        asked = tenant.question(self._chance.randrange(1000))
        begun = turn(tenant.agent_id, question=asked, answer="", status="streaming", citations=[])
        made = await self._conversations.begin_turn(tenant.scope, begun, None)
        return made.ids.run == begun.run_id

    async def transaction(self, tenant: Tenant) -> Belongs:
        async with self.database.transaction(tenant.scope) as connection:
            names = [row["name"] for row in await connection.fetch(NAMES)]
        return len(names) == 2 and all(map(tenant.owns, names))

    async def session(self, tenant: Tenant) -> Belongs:
        async with self.database.session(tenant.scope) as session:
            names = [row.name for row in await session.execute(text(NAMES))]
        return len(names) == 2 and all(map(tenant.owns, names))

    # --- what there is ---------------------------------------------------------------------------

    async def everything_belongs(self) -> int:
        """Read all of it once more, in peace; how many calls told anything else."""
        wrong = 0
        for tenant in self.tenants:
            told = (call(tenant) for call in (self._every_key, *self.every))
            found = await asyncio.gather(*told, return_exceptions=True)
            wrong += sum(each is False or isinstance(each, BaseException) for each in found)
        return wrong

    def in_use(self) -> int:
        """Connections that somebody has. The run streams' own listener has one for good."""
        pools = self.database.statistics().values()
        stores = (self.cache, self.streams)
        redis = (client for each in stores for client in each.servers.places().values())
        lent = sum(len(each.connection_pool._in_use_connections) for each in redis)
        return sum(pool["in_use"] for pool in pools) + lent - 1

    async def _every_key(self, tenant: Tenant) -> Belongs:
        keys = self._keys(tenant)
        return list(await self.cache.get_many(keys)) == [_value(key) for key in keys]

    def _keys(self, tenant: Tenant) -> list[str]:
        return [f"soak:{tenant.mark}:{number}" for number in range(KEYS)]

    def _text(self, tenant: Tenant, number: int) -> str:
        return f"note {number} of {tenant.mark}"


@asynccontextmanager
async def calls(
    tenants: Sequence[Tenant], chance: random.Random, database_url: str, redis_url: str
) -> AsyncIterator[Calls]:
    """The stores at these addresses, as one process of the service has them."""
    known: dict[UUID, Run] = {}
    async with AsyncExitStack() as stack:
        database = await Database.open(database_url)
        stack.push_async_callback(database.close)
        cache = RedisCache(
            redis_url, timeout_seconds=REDIS_SECONDS, retry_after_seconds=PROBE_SECONDS
        )
        stack.push_async_callback(cache.aclose)
        streams = RedisRunStreams(redis_url, lambda _, run_id: known.get(run_id))
        stack.push_async_callback(streams.aclose)
        runs = {
            each.scope.tenant_id: Run(new_id(), each.scope, GRACE_SECONDS, frame, streams.changed)
            for each in tenants
        }
        known.update({run.id: run for run in runs.values()})
        yield Calls(tenants, chance, database, cache, streams, runs)


def _value(key: str) -> bytes:
    return key.encode() * LONG
