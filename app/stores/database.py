"""The way to Postgres: asyncpg for the question path, SQLAlchemy for the rest."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, cast
from uuid import UUID

import asyncpg
import orjson
from pgvector.asyncpg import register_vector
from sqlalchemy import QueuePool, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from app.chat.administration import UNKNOWN
from app.chat.model import Claim, Scope
from app.errors import NotFound, Unauthorized
from app.stores import pooled
from app.stores.connections import ABANDONED, Connections, Prepared
from app.stores.roles import RoleReport, role_of
from app.stores.translate import translated

MAX_ID = 2**63 - 1

# What has to be planned each time, or once a session, is in functions that say so; planning each
# call of them would take 0.03 ms. Compiling a plan costs more than any query of ours takes.
SERVER_SETTINGS = {
    "application_name": "citestream",
    "plan_cache_mode": "auto",
    "jit": "off",
    **ABANDONED,
}
# Both come to the tenant's id. Of a credential that is nobody's there is none, and row level
# security shows nothing. OFFSET 0: it is resolved once. As a value, not as a table: no tuple store.
ENTER = "SELECT enter($1, $2, $3, $4)"
CLAIM = """
SELECT enter((c.it).tenant_id, (c.it).subject, (c.it).role, (c.it).portfolios)
  FROM (SELECT resolve_credential($1, $2, $3, $4) AS it OFFSET 0) c
"""
ENTERING: Mapping[type, str] = {Scope: ENTER, Claim: CLAIM}
# Of a left join nothing of the right side is read before the left side is there; with one row on
# that side the rows stay in their order.
READ = """
SELECT k.tenant_id IS NOT NULL AS entered, q.*
  FROM ({enter} OFFSET 0) k (tenant_id)
  LEFT JOIN LATERAL (SELECT true AS found, r.* FROM ({query}) r) q ON k.tenant_id IS NOT NULL
"""


@dataclass(slots=True)
class Counts:
    """Of SQLAlchemy's pool since the start: how often a connection was lent, and how many were
    opened for it."""

    acquired: int = 0
    opened: int = 0

    def lent(self, _: object) -> None:
        self.acquired += 1


class Database:
    """Two pools on one database. Every error of theirs leaves as an AppError.

    Connections that broke are replaced on the next use: asyncpg notices a closed socket. So the
    service recovers by itself with the server.
    """

    def __init__(
        self,
        connections: Connections,
        engine: AsyncEngine,
        administered: Counts,
        *,
        pooler: bool = False,
    ) -> None:
        self._connections = connections
        self._pooler = pooler
        self._enter = ENTER + (pooled.MAKE_SETTINGS if pooler else "")
        self._enter_session = text(self._enter.replace("$", ":n"))
        self._engine = engine
        self._administered = administered
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)

    @classmethod
    async def open(
        cls,
        app_url: str,
        *,
        pool_size: int = 10,
        timeout_seconds: float = 5.0,
        waited: Callable[[float], None] = lambda _: None,
        pooler: bool = False,
    ) -> "Database":
        """Connect. `timeout_seconds` bounds connecting, waiting for a connection and each
        statement; `pooler`: the address is that of one in transaction mode (`app.stores.pooled`).
        Raises DatabaseUnavailable."""
        connect: dict[str, Any] = {
            "dsn": app_url,
            "timeout": timeout_seconds,
            "command_timeout": timeout_seconds,
            **(pooled.ASYNCPG if pooler else {"server_settings": SERVER_SETTINGS}),
        }

        prepared = Prepared(_register_codecs)
        with translated():
            pool = await asyncpg.create_pool(
                **connect,
                # No floor: asyncpg logs a traceback for each failed try to restore one. Instead
                # connections stay once made, and the first ones are made here.
                min_size=0,
                max_size=pool_size,
                max_inactive_connection_lifetime=0,
                init=prepared,
                reset=_keep,
            )
            try:
                await asyncio.gather(*(pool.execute("SELECT 1") for _ in range(min(2, pool_size))))
            except BaseException:
                pool.terminate()
                raise
        engine, administered = _administration(connect, pool_size, timeout_seconds, pooler=pooler)
        connections = Connections(pool, prepared, timeout_seconds, waited)
        return cls(connections, engine, administered, pooler=pooler)

    async def close(self) -> None:
        """Close both pools; what is still running is cut off after the timeout."""
        await self._engine.dispose()
        await self._connections.close()

    @asynccontextmanager
    async def session(self, scope: Scope) -> AsyncIterator[AsyncSession]:
        """One transaction of the tenant, committed at the end unless an error leaves it."""
        with translated():
            async with self._sessions.begin() as session:
                values = {f"n{n}": value for n, value in enumerate(who(scope), 1)}
                await session.execute(self._enter_session, values)
                yield session

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the question path's pool, without a tenant or a transaction."""
        with translated():
            connection, whole = await self._connections.take(), False
            try:
                yield connection
                whole = True
            finally:
                await self._connections.give_back(connection, whole=whole)

    @asynccontextmanager
    async def transaction(self, scope: Scope) -> AsyncIterator[asyncpg.Connection]:
        """The same on asyncpg, for what SQLAlchemy would do slowly."""
        async with self.connection() as connection, connection.transaction():
            await connection.execute(self._enter, *who(scope))
            yield connection

    async def read(
        self, caller: Scope | Claim, query: str, *values: Any
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of a SELECT as the caller sees them, in its order, in one statement with the
        look-up of whose credential it is; `values` are its $5 and on. Raises Unauthorized for a
        claim that is nobody's."""
        reading = READ.format(enter=ENTERING[type(caller)], query=query)
        rows = await self.fetch(reading, *who(caller), *values)
        if not rows[0]["entered"]:
            raise Unauthorized(UNKNOWN)
        return [dict(islice(row.items(), 2, None)) for row in rows if row["found"]]

    async def fetch(self, query: str, *values: Any) -> Sequence[asyncpg.Record]:
        """Run one statement in one round trip (behind a pooler in four). It sets its tenant
        itself."""
        with translated():
            connection, whole = await self._connections.take(), False
            try:
                rows: Sequence[asyncpg.Record]
                if self._pooler:
                    rows = await pooled.fetch(connection, query, values)
                else:
                    rows = await connection.fetch(query, *values)
                whole = True
            finally:
                await self._connections.give_back(connection, whole=whole)
        return rows

    def statistics(self) -> dict[str, dict[str, int]]:
        """Connections by pool: those of `questions` and those of `administration`."""
        pool = cast(QueuePool, self._engine.pool)
        return {
            "questions": self._connections.statistics(),
            "administration": {
                "size": pool.size(),
                "open": pool.checkedin() + pool.checkedout(),
                "in_use": pool.checkedout(),
                "acquired": self._administered.acquired,
                "opened": self._administered.opened,
            },
        }

    async def ping(self) -> None:
        """Return when the database answers, else raise DatabaseUnavailable."""
        await self.fetch("SELECT 1")

    async def installation(self) -> str:
        """What tells this database from every other: when its first encoder was registered."""
        [row] = await self.fetch("SELECT coalesce(min(created_at)::text, '') FROM encoders")
        return str(row[0])

    async def check_role(self) -> RoleReport:
        """What the role of this service may do that it should not; the caller logs or refuses."""
        async with self.connection() as connection, connection.transaction():
            return await role_of(connection)


def who(caller: Scope | Claim) -> tuple[Any, Any, Any, Any]:
    """The values of the SQL function `enter`, which row level security goes by; of a claim those of
    `resolve_credential`."""
    if isinstance(caller, Claim):
        return caller.key_digest, caller.user, caller.tenant, caller.issued_at
    return caller.tenant_id, caller.subject, caller.role, caller.portfolios


def checked_id(value: int) -> int:
    """The id, or NotFound where no row can have it: an int of Python's goes on past bigint."""
    if not 0 <= value <= MAX_ID:
        raise NotFound
    return value


def _administration(
    connect: dict[str, Any], pool_size: int, timeout_seconds: float, *, pooler: bool
) -> tuple[AsyncEngine, Counts]:
    """SQLAlchemy's pool, half as large, of connections that asyncpg makes: one parser for the DSN,
    unix sockets included."""
    administered = Counts()

    async def creator(*_: object, **__: object) -> asyncpg.Connection:
        connection = await asyncpg.connect(**connect)
        administered.opened += 1
        return connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args={"async_creator_fn": creator, **(pooled.SQLALCHEMY if pooler else {})},
        pool_size=max(2, pool_size // 2),
        max_overflow=0,
        pool_timeout=timeout_seconds,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )
    event.listen(engine.sync_engine, "engine_connect", administered.lent)
    event.listen(engine.sync_engine, "checkout", _check_open)
    return engine, administered


def _check_open(connection: Any, *_: object) -> None:
    """Tell SQLAlchemy's pool of one that is closed. To ask the server, as it would itself, takes it
    three round trips for each that it lends."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


async def _register_codecs(connection: asyncpg.Connection) -> None:
    async with connection.transaction():  # it looks the types up, in two steps each
        await register_vector(connection)
        # asyncpg has a class of its own, which no JSON encoder takes.
        await connection.set_type_codec(
            "uuid",
            schema="pg_catalog",
            encoder=attrgetter("bytes"),
            decoder=lambda data: UUID(bytes=data),
            format="binary",
        )
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            encoder=lambda value: b"\x01" + orjson.dumps(value),  # the format's version, the text
            decoder=lambda data: orjson.loads(data[1:]),
            format="binary",
        )


async def _keep(_: asyncpg.Connection) -> None:
    """Nothing to reset: settings are made for a transaction only. asyncpg's own RESET ALL would
    cost a second round trip for each query."""
