"""The limiter with shared counters that may be away, and what is spent through it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from app.chat.model import Scope, Usage
from app.chat.ports import Demand
from app.errors import DatabaseUnavailable, NotFound, QuotaExceeded, RateLimited
from app.limits.limiter import Limiter
from app.limits.local import LocalCounts
from app.limits.ports import DayOfUse, Spent
from app.limits.rules import Limit, Limits, Rule, Standing
from app.limits.settling import Settling
from app.limits.spending import Spending

USER = Scope(1, "user:5", "member")
GONE = 404
NOW = datetime(2026, 3, 4, 23, 59, 30, tzinfo=UTC)
PRICES = {"dear": (1_000_000.0, 2_000_000.0)}  # a token of a prompt costs 1, of an answer 2


class SharedCounts:
    """Local counters that stand for those of all processes, and may be away."""

    def __init__(self) -> None:
        self.counts = LocalCounts(lambda: 1000.0, share=1)
        self.away = False
        self.leases: dict[str, Sequence[Rule]] = {}
        self.kept: list[str] = []

    async def take(
        self, tenant_id: int, rules: Sequence[Rule], lease: str
    ) -> Sequence[Standing] | None:
        if self.away:
            return None
        standings = self.counts.take(tenant_id, rules)
        streams = [each for each in rules if each.kind == "streams"]
        if streams and all(each.level.allowed for each in standings):
            self.leases[lease] = streams
            self.counts.begin(tenant_id, streams)
        return standings

    async def adjust(self, tenant_id: int, rules: Sequence[Rule]) -> None:
        self.counts.adjust(tenant_id, rules)

    async def keep(self, tenant_id: int, leases: Mapping[str, Sequence[Rule]]) -> None:
        self.kept += leases

    async def end(self, tenant_id: int, rules: Sequence[Rule], lease: str) -> None:
        if lease in self.leases:
            self.counts.end(tenant_id, self.leases.pop(lease))


class MemoryLedger:
    """Of one day, in memory; away as told."""

    def __init__(self) -> None:
        self.reserved: dict[UUID, float] = {}
        self.settled: dict[UUID, Spent] = {}
        self.away = 0

    async def reserve(
        self, scope: Scope, reservation: UUID, cost: float, own: float | None, tenant: float | None
    ) -> bool:
        total = sum(self.reserved.values()) + cost
        if total > min(each for each in (own, tenant, 1e9) if each is not None):
            return False
        self.reserved[reservation] = cost
        return True

    async def settle(self, tenant_id: int, spent: Sequence[Spent]) -> None:
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable
        if tenant_id == GONE:
            raise NotFound
        for each in spent:
            assert each.id not in self.settled
            self.settled[each.id] = each
            self.reserved.pop(each.id, None)

    async def daily(self, scope: Scope, days: int) -> Sequence[DayOfUse]:
        return []


def limiter_of(limits: Limits, shared: SharedCounts | None = None, share: int = 4) -> Limiter:
    return Limiter(limits, shared, LocalCounts(lambda: 1000.0, share))


async def allowed(limiter: Limiter, times: int, **wanted: int) -> int:
    return sum([(await limiter.admit(USER, **wanted)).error is None for _ in range(times)])


async def test_local_limits_hold_while_the_shared_counters_are_away() -> None:
    shared = SharedCounts()
    limiter = limiter_of(Limits(user=Limit(requests_per_minute=8)), shared)
    assert await allowed(limiter, 3, requests=1) == 3
    shared.away = True
    assert await allowed(limiter, 9, requests=1) == 2  # a quarter of eight
    shared.away = False
    assert await allowed(limiter, 9, requests=1) == 5
    assert limiter.refused == {"requests": 11}


async def test_a_place_is_given_back_once_and_known_again_after_an_absence() -> None:
    shared = SharedCounts()
    limiter = limiter_of(Limits(user=Limit(streams=4)), shared)
    first = await limiter.admit(USER, streams=1)
    shared.away = True
    assert await allowed(limiter, 1, streams=1) == 0  # one of the quarter is open already
    first.leave()
    first.leave()
    second = await limiter.admit(USER, streams=1)
    assert second.error is None
    shared.away = False
    await limiter.beat()
    assert len(shared.kept) == 1
    second.leave()
    await limiter.aclose()
    assert shared.leases == {}
    await limiter.beat()
    assert len(shared.kept) == 1  # nothing is open any more


async def test_a_refused_request_holds_nothing() -> None:
    limiter = limiter_of(Limits(user=Limit(requests_per_minute=1, streams=5)), SharedCounts())
    await limiter.admit(USER, requests=1, streams=1)
    refused = await limiter.admit(USER, requests=1, streams=1)
    assert isinstance(refused.error, RateLimited)
    refused.leave()
    refused.spent(5)
    assert refused.headers["RateLimit-Remaining"] == "0"


class Bench:
    """Spending on fakes."""

    def __init__(self, limits: Limits) -> None:
        self.shared = SharedCounts()
        self.ledger = MemoryLedger()
        self.limiter = limiter_of(limits, self.shared)
        self.settling = Settling(self.ledger, again_seconds=0.001)
        self.spending = Spending(
            limits, self.limiter, self.ledger, self.settling, PRICES, uuid4, lambda: NOW
        )

    async def told(self) -> None:
        running = asyncio.create_task(self.settling.run())
        await self.settling.all_told()
        running.cancel()


async def test_a_cost_is_reserved_by_the_estimate_and_settled_by_the_use() -> None:
    bench = Bench(Limits(user=Limit(cost_per_day=100)))
    reserve = bench.spending.reserve
    assert reserve is not None
    reserved = [await reserve(USER, Demand("dear", 10, 15)) for _ in range(2)]
    assert sorted(bench.ledger.reserved.values()) == [40.0, 40.0]
    with pytest.raises(QuotaExceeded) as refused:
        await reserve(USER, Demand("dear", 10, 15))
    assert refused.value.retry_after == 30.0  # to midnight UTC
    await reserve(USER, Demand("free", 10_000, 15_000))  # without a price, nothing
    bench.spending.settle(USER, "dear", Usage(8, 3), reserved[0])
    bench.spending.settle(USER, "dear", Usage(), reserved[1])  # found in a cache
    await bench.told()
    assert bench.ledger.reserved == {}
    assert sorted(each.cost for each in bench.ledger.settled.values()) == [0.0, 14.0]
    assert bench.limiter.refused == {"cost": 1}


async def test_who_may_spend_no_more_holds_no_tokens_and_no_place() -> None:
    bench = Bench(Limits(user=Limit(tokens_per_minute=100, streams=1, cost_per_day=1)))
    admission = await bench.limiter.admit(USER, tokens=90, streams=1)
    with pytest.raises(QuotaExceeded):
        await bench.spending.set_aside(USER, Demand("dear", 50, 40), admission)
    await bench.limiter.aclose()
    again = await bench.limiter.admit(USER, tokens=90, streams=1)
    assert again.error is None


async def test_tokens_are_counted_as_they_were_used() -> None:
    bench = Bench(Limits(user=Limit(tokens_per_minute=100)))
    reserve = bench.spending.reserve
    assert reserve is not None
    reserved = await reserve(USER, Demand("free", 40, 40))
    with pytest.raises(RateLimited):
        await reserve(USER, Demand("free", 40, 40))
    bench.spending.settle(USER, "free", Usage(10, 5), reserved)
    bench.spending.settle(USER, "free", Usage(), None)
    await bench.limiter.aclose()
    assert (await bench.limiter.admit(USER, tokens=85)).error is None


async def test_without_a_limit_use_is_told_and_nothing_is_asked() -> None:
    bench = Bench(Limits())
    assert bench.spending.reserve is None
    bench.spending.settle(Scope(GONE), "dear", Usage(1, 2), None)
    bench.spending.settle(USER, "dear", Usage(1, 2), None)
    bench.spending.settle(USER, "dear", Usage(), None)
    bench.ledger.away = 1
    await bench.told()
    [spent] = bench.ledger.settled.values()
    assert (spent.subject, spent.model, spent.cost) == ("user:5", "dear", 5.0)
