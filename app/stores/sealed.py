"""Everything that is encrypted in the database, wherever it stands, sealed anew.

The columns are those of the domain `sealed`, as the catalog has them. Each needs `id` and
`tenant_id` beside it: with the table's and its own name they are the value's place.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from app.errors import Conflict
from app.stores.migrate import MigrationFailed, as_owner
from app.vault.sealing import Place, Undecryptable, Vault

LOCK = 0x636974656B657973  # "citekeys": the advisory lock's number, ours alone in this database
BATCH = 200
# One does the work, the next looks whether there is more. Where the tenth finds some, a process
# goes on with a former key first.
ROUNDS = 10

# Names come quoted as SQL needs them; `whole` says that a place can be told.
COLUMNS = """
SELECT c.relname AS table_name, a.attname AS column_name,
       c.oid::regclass::text AS quoted_table, quote_ident(a.attname) AS quoted_column,
       (SELECT count(*) FROM pg_attribute o WHERE o.attrelid = c.oid
           AND o.attname IN ('id', 'tenant_id') AND NOT o.attisdropped) = 2 AS whole
  FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  JOIN pg_type t ON t.oid = a.atttypid AND t.typtype = 'd' AND t.typname = 'sealed'
 WHERE a.attnum > 0 AND NOT a.attisdropped
 ORDER BY 1, 2
"""
TENANTS = "SELECT id FROM tenants ORDER BY id"
SET_TENANT = "SELECT set_config('app.tenant_id', $1, true)"
COUNT = (
    "SELECT count(*) FILTER (WHERE substr({column}::bytea, 1, $2) = $3), count({column}) "
    "FROM {table} WHERE tenant_id = $1"
)
FORMER = (
    "SELECT id, {column}::bytea AS value FROM {table} "
    "WHERE tenant_id = $1 AND substr({column}::bytea, 1, $2) <> $3 AND id > $4 "
    "ORDER BY id LIMIT $5"
)
# What was entered or cleared meanwhile stays as it is.
SWAP = (
    "UPDATE {table} SET {column} = $1::bytea "
    "WHERE tenant_id = $2 AND id = $3 AND {column}::bytea = $4 RETURNING id"
)
# In the tenant's audit log, in the transaction that does it.
RECORD = """
INSERT INTO audit_log (tenant_id, at, subject, role, action, object_kind, object_id, result, status,
                       request_id)
VALUES ($1, now(), 'command', 'owner', 'key.rotate', $2, $3, 'ok', 0, '')
"""


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """Where sealed values are; `quoted_table` and `quoted_column` are the names in SQL."""

    table: str
    column: str
    quoted_table: str
    quoted_column: str

    def sql(self, statement: str) -> str:
        return statement.format(table=self.quoted_table, column=self.quoted_column)


@dataclass(slots=True)
class Rotated:
    """How many were sealed anew, were so before, and where those are that do not open. Not
    `settled` where values under a former key kept coming in."""

    columns: int
    settled: bool = False
    newest: int = 0
    resealed: int = 0
    undecryptable: list[Place] = field(default_factory=list)


async def reseal_all(
    owner_url: str, vault: Vault, progress: Callable[[int, int], None] = lambda done, total: None
) -> Rotated:
    """Seal every value under the vault's first key that is not. Goes over all of them until there
    is nothing left to do (but for no more than ten rounds), so that it finds what was entered
    while it went.

    What was done stays done when it is interrupted. Conflict where another one is at it,
    MigrationFailed for a column that belongs to no row and tenant, DatabaseUnavailable.
    """
    async with as_owner(owner_url) as connection, _alone(connection):
        columns = await sealed_columns(connection)
        rotation = _Rotation(connection, vault, columns, progress)
        return await rotation.run()


async def sealed_columns(connection: asyncpg.Connection) -> list[SealedColumn]:
    """Every encrypted column there is. Raises MigrationFailed."""
    found = await connection.fetch(COLUMNS)
    for row in found:
        if not row["whole"]:
            raise MigrationFailed(
                f"The column {row['column_name']} of {row['table_name']} is encrypted, but the "
                "table has no columns id and tenant_id that its values would be bound to."
            )
    return [SealedColumn(*tuple(row)[:4]) for row in found]


@asynccontextmanager
async def _alone(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """The lock goes with the connection, however this ends."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        raise Conflict("Keys are being rotated by another process; wait until it is done.")
    yield


class _Rotation:
    """One `reseal_all`, on a connection of its own. The owner is held by row level security as
    everybody is, so it goes from tenant to tenant."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        vault: Vault,
        columns: list[SealedColumn],
        progress: Callable[[int, int], None],
    ) -> None:
        self._connection = connection
        self._vault = vault
        self._columns = columns
        self._progress = progress
        self._prefix = vault.newest_prefix()
        self._result = Rotated(len(columns))
        self._total = 0

    async def run(self) -> Rotated:
        for tenant_id, column in await self._parts():
            newest, every = await self._count(tenant_id, column)
            self._result.newest += newest
            self._total += every - newest
        for _ in range(ROUNDS):
            if not await self._round():
                self._result.settled = True
                break
        return self._result

    async def _parts(self) -> list[tuple[int, SealedColumn]]:
        tenants = [row["id"] for row in await self._connection.fetch(TENANTS)]
        return [(tenant_id, column) for tenant_id in tenants for column in self._columns]

    async def _round(self) -> bool:
        """Whether there was anything to do."""
        self._result.undecryptable.clear()
        tried = 0
        for tenant_id, column in await self._parts():
            after = -1
            while rows := await self._former(tenant_id, column, after):
                after = rows[-1]["id"]
                for row in rows:
                    tried += await self._reseal(tenant_id, column, row["id"], row["value"])
        return tried > 0

    async def _reseal(self, tenant_id: int, column: SealedColumn, row: int, value: bytes) -> bool:
        """Whether another round may find it done."""
        place = Place(tenant_id, column.table, row, column.column)
        try:
            resealed = self._vault.reseal(value, place)
        except Undecryptable:
            self._result.undecryptable.append(place)
            return False
        async with self._connection.transaction():
            await self._connection.execute(SET_TENANT, str(tenant_id))
            swapped = await self._connection.fetchval(
                column.sql(SWAP), resealed, tenant_id, row, value
            )
            if swapped is not None:
                named = f"{column.table}.{column.column}"
                await self._connection.execute(RECORD, tenant_id, named, str(row))
        if swapped is not None:
            self._result.resealed += 1
            self._progress(self._result.resealed, max(self._total, self._result.resealed))
        return True

    async def _former(
        self, tenant_id: int, column: SealedColumn, after: int
    ) -> list[asyncpg.Record]:
        """The next of those that another key has wrapped."""
        async with self._connection.transaction():
            await self._connection.execute(SET_TENANT, str(tenant_id))
            rows: list[asyncpg.Record] = await self._connection.fetch(
                column.sql(FORMER), tenant_id, len(self._prefix), self._prefix, after, BATCH
            )
        return rows

    async def _count(self, tenant_id: int, column: SealedColumn) -> tuple[int, int]:
        """Those under the first key, and all."""
        async with self._connection.transaction():
            await self._connection.execute(SET_TENANT, str(tenant_id))
            newest, every = await self._connection.fetchrow(
                column.sql(COUNT), tenant_id, len(self._prefix), self._prefix
            )
        return int(newest), int(every)
