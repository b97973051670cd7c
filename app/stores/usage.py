"""What callers have taken of models, by day, and what is reserved for answers on their way."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from uuid import UUID

from app.chat.model import Scope
from app.limits.ports import DayOfUse, Spent
from app.stores.database import Database

RESERVE = "SELECT reserve_cost($1, $2, $3, $4, $5, $6, $7)"
SETTLE = "SELECT settle_usage($1, $2, $3)"
DAILY = """
SELECT day, subject, model, answers, prompt_tokens, completion_tokens, cost::float8 AS cost
  FROM usage_daily
 WHERE day > (now() AT TIME ZONE 'UTC')::date - $1::integer AND subject <> ''
 ORDER BY day DESC, cost DESC, subject, model
"""
# An answer takes two minutes at most, and as long again with its fallback: what is reserved longer
# is a dead process's.
RESERVED_FOR = timedelta(minutes=15)
# How long after its end an answer may be told again.
REMEMBERED_FOR = timedelta(hours=1)


class PgUsage:
    """`app.limits.ports.Ledger` on Postgres, under the tenant's row level security."""

    def __init__(self, database: Database, reserved_for: timedelta = RESERVED_FOR) -> None:
        self._database = database
        self._reserved_for = reserved_for

    async def reserve(
        self, scope: Scope, reservation: UUID, cost: float, own: float | None, tenant: float | None
    ) -> bool:
        """See `Ledger.reserve`: one statement, however many ask at once."""
        [row] = await self._database.fetch(
            RESERVE,
            scope.tenant_id,
            scope.subject,
            reservation,
            cost,
            own,
            tenant,
            self._reserved_for,
        )
        return bool(row[0])

    async def settle(self, tenant_id: int, spent: Sequence[Spent]) -> None:
        """See `Ledger.settle`."""
        told = [asdict(each) for each in spent]
        await self._database.fetch(SETTLE, tenant_id, told, REMEMBERED_FOR)

    async def daily(self, scope: Scope, days: int) -> Sequence[DayOfUse]:
        """See `Ledger.daily`."""
        async with self._database.transaction(scope) as connection:
            rows = await connection.fetch(DAILY, days)
        return [DayOfUse(**row) for row in rows]
