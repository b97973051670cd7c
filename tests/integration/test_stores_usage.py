"""What is spent, on a real Postgres: never more than may be, and each answer once."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from app.chat.model import Scope
from app.limits.ports import Spent
from app.stores.usage import PgUsage
from tests.support.pg_stores import Stores


def of(scope: Scope, user: int) -> Scope:
    return Scope(scope.tenant_id, f"user:{user}", "member")


def spent(cost: float, reservation: UUID | None = None, subject: str = "user:1") -> Spent:
    return Spent(reservation or uuid4(), subject, "model", 10, 5, cost)


async def test_a_hundred_at_once_never_reserve_more_than_may_be_spent(
    stores: Stores, scope: Scope
) -> None:
    usage = stores.usage
    await usage.settle(scope.tenant_id, [spent(1.5)])

    async def reserve(number: int) -> bool:
        return await usage.reserve(of(scope, number % 5), uuid4(), 0.1, 1.0, 4.0)

    got = await asyncio.gather(*map(reserve, range(100)))
    assert sum(got) == 25
    [row] = await stores.behind(
        "SELECT sum(cost) AS reserved, max(count) AS most FROM (SELECT cost, count(*) OVER "
        "(PARTITION BY subject) FROM usage_reservations WHERE tenant_id = $1 AND NOT settled)",
        scope.tenant_id,
    )
    assert float(row["reserved"]) == pytest.approx(2.5)
    assert row["most"] <= 10


async def test_a_caller_s_own_bound_holds_beside_the_tenant_s(stores: Stores, scope: Scope) -> None:
    async def reserve(user: int, own: float | None, tenant: float | None) -> bool:
        return await stores.usage.reserve(of(scope, user), uuid4(), 1.0, own, tenant)

    assert [await reserve(1, 2.0, None) for _ in range(3)] == [True, True, False]
    assert await reserve(2, 2.0, None)
    assert await reserve(2, None, 4.0)
    assert not await reserve(3, None, 4.0)
    assert not await reserve(3, 9.0, 4.0)


async def test_a_settled_answer_counts_once_with_what_it_took(stores: Stores, scope: Scope) -> None:
    usage, user, first, second = stores.usage, of(scope, 1), uuid4(), uuid4()
    assert await usage.reserve(user, first, 6.0, None, 10.0)
    assert not await usage.reserve(user, second, 6.0, None, 10.0)
    for _ in range(3):  # told again, because nobody knew whether it had been
        await usage.settle(scope.tenant_id, [spent(2.5, first)])
    assert await usage.reserve(user, second, 6.0, None, 10.0)
    nothing = Spent(second, "user:1", "model", 0, 0, 0.0)  # it was found in a cache
    await usage.settle(scope.tenant_id, [nothing, spent(1.0), spent(0.25, subject="key:7")])
    [ours, key] = await usage.daily(scope, 1)
    assert (ours.subject, ours.answers, ours.prompt_tokens, ours.completion_tokens, ours.cost) == (
        "user:1", 2, 20, 10, 3.5,
    )  # fmt: skip
    assert (key.subject, key.answers, key.cost) == ("key:7", 1, 0.25)
    [total] = await stores.behind(
        "SELECT answers, cost FROM usage_daily WHERE tenant_id = $1 AND subject = ''",
        scope.tenant_id,
    )
    assert (total["answers"], float(total["cost"])) == (3, 3.75)


async def test_what_a_crashed_process_reserved_is_free_again(stores: Stores, scope: Scope) -> None:
    brief = PgUsage(stores.database, timedelta(milliseconds=200))
    crashed = uuid4()
    assert await brief.reserve(scope, crashed, 5.0, None, 5.0)
    async with asyncio.timeout(20):
        while not await stores.usage.reserve(scope, uuid4(), 5.0, None, 5.0):
            pass
    await stores.usage.settle(scope.tenant_id, [spent(4.0, crashed)])  # it lived, and was slow
    [day] = await stores.usage.daily(scope, 1)
    assert day.cost == 4.0


async def test_days_are_counted_apart_and_tenants_see_their_own(
    stores: Stores, scope: Scope
) -> None:
    await stores.usage.settle(scope.tenant_id, [spent(1.0)])
    await stores.behind(
        "UPDATE usage_daily SET day = day - 3 WHERE tenant_id = $1", scope.tenant_id
    )
    assert await stores.usage.reserve(of(scope, 1), uuid4(), 1.0, 1.0, 1.0)  # a new day
    await stores.usage.settle(scope.tenant_id, [spent(2.0)])
    assert [each.cost for each in await stores.usage.daily(scope, 3)] == [2.0]
    assert [each.cost for each in await stores.usage.daily(scope, 4)] == [2.0, 1.0]
    assert await stores.usage.daily(await stores.tenant(), 366) == []


async def test_settling_and_reserving_at_once_lose_nothing(stores: Stores, scope: Scope) -> None:
    usage = stores.usage

    async def answer(number: int) -> int:
        reservation = uuid4()
        if not await usage.reserve(of(scope, number), reservation, 1.0, None, 20.0):
            return 0
        await usage.settle(scope.tenant_id, [spent(1.0, reservation, f"user:{number}")])
        return 1

    answered = sum(await asyncio.gather(*map(answer, range(60))))
    assert answered == 20
    assert sum(each.cost for each in await usage.daily(scope, 1)) == 20.0
