"""The core's port `Budget`: tokens by the minute and cost by the day, set aside and settled."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from app.chat.model import Scope, Usage
from app.chat.ports import Demand, Reserve, Reserved
from app.errors import QuotaExceeded
from app.limits.limiter import Admission, Limiter
from app.limits.ports import Ledger, Spent
from app.limits.rules import Limits
from app.limits.settling import Settling
from app.performance.tokens import PRICED_TOKENS, Prices


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was set aside for one answer: tokens where they are limited, a cost where that is."""

    id: UUID
    admission: Admission
    has_cost: bool


class Spending:
    """What the callers of this service spend on models."""

    def __init__(
        self,
        limits: Limits,
        limiter: Limiter,
        ledger: Ledger,
        settling: Settling,
        prices: Prices,
        new_id: Callable[[], UUID],
        now: Callable[[], datetime],
    ) -> None:
        """`now` has a time zone."""
        self.limiter = limiter
        self.ledger = ledger
        self._limits = limits
        self.settling = settling
        self._prices = prices
        self._new_id = new_id
        self._now = now
        self._reserving: Reserve | None = self._reserve if limits.any else None

    @property
    def reserve(self) -> Reserve | None:
        return self._reserving

    async def _reserve(self, scope: Scope, demand: Demand) -> Reservation:
        """For who asks beyond HTTP: no request is counted, and no stream."""
        tokens = demand.prompt_tokens + demand.completion_tokens
        admission = await self.limiter.admit(scope, tokens=tokens)
        if admission.error is not None:
            raise admission.error
        return await self.set_aside(scope, demand, admission)

    async def set_aside(self, scope: Scope, demand: Demand, admission: Admission) -> Reservation:
        """The cost that belongs to what was let in. QuotaExceeded where the day's is used up; then
        nothing is held any more."""
        cost = self._cost(demand.model, demand.prompt_tokens, demand.completion_tokens)
        own, tenant = self._bounds(scope)
        reservation = Reservation(
            self._new_id(), admission, bool(cost) and not (own is None and tenant is None)
        )
        try:
            if reservation.has_cost and not await self.ledger.reserve(
                scope, reservation.id, cost, own, tenant
            ):
                self.limiter.refused["cost"] += 1
                raise QuotaExceeded(retry_after=_until_tomorrow(self._now()))
        except BaseException:
            admission.spent(0)
            admission.leave()
            raise
        return reservation

    def settle(self, scope: Scope, model: str, usage: Usage, reserved: Reserved | None) -> None:
        """See `Budget.settle`."""
        tokens = usage.prompt_tokens + usage.completion_tokens
        has_cost, number = False, None
        if isinstance(reserved, Reservation):
            reserved.admission.spent(tokens)
            has_cost, number = reserved.has_cost, reserved.id
        if tokens or has_cost:
            cost = self._cost(model, usage.prompt_tokens, usage.completion_tokens)
            spent = Spent(
                number or self._new_id(),
                scope.subject,
                model,
                usage.prompt_tokens,
                usage.completion_tokens,
                cost,
            )
            self.settling.add(scope.tenant_id, spent)

    def _cost(self, model: str, prompt: int, completion: int) -> float:
        price = self._prices.get(model, (0.0, 0.0))
        return (prompt * price[0] + completion * price[1]) / PRICED_TOKENS

    def _bounds(self, scope: Scope) -> tuple[float | None, float | None]:
        bounds = {who: limit.cost_per_day or None for who, limit in self._limits.of(scope)}
        return bounds.get("user") or bounds.get("key"), bounds["tenant"]


def _until_tomorrow(now: datetime) -> float:
    """Seconds to midnight UTC, when a day of use ends. Pure."""
    today = now.astimezone(UTC)
    midnight = datetime.combine(today.date() + timedelta(days=1), time(), UTC)
    return (midnight - today).total_seconds()
