"""A service of two processes on a Redis Cluster of three servers, over real sockets."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.exceptions import ResponseError

from app.chat.model import Scope
from app.limits.limiter import Limiter
from app.limits.local import LocalCounts
from app.limits.rules import Limit, Limits
from app.stores.limits import RedisCounts
from app.stores.redis_cache import RedisCache
from tests.support.clusters import Cluster, clustered
from tests.support.live import Live, live_service, unique
from tests.support.pg_stores import scope_of
from tests.support.sentinels import free_ports
from tests.support.vendors import Script, VendorServer
from tests.support.waiting import LONG_PAUSE_SECONDS, until

TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
QUESTION = "Who finished the Atlas project?"
TOKENS = ["Ana", " Ruiz", " finished", " it", " [1]", "."]


class Tenant:
    """One that has an agent, seen by both processes."""

    def __init__(self, scope: Scope, one: Live, other: Live) -> None:
        self.one = one
        self.other = other
        self.tag = f"{{{scope.tenant_id}}}"
        self.agent = self.portfolio = 0

    async def furnish(self) -> "Tenant":
        self.portfolio = await self.one.portfolio(unique("docs"), Atlas=TEXT)
        self.agent = await self.one.agent(unique("agent"), self.portfolio, provider="openai")
        return self

    async def is_cached(self, question: str = QUESTION) -> bool:
        answer = await self.one.ask(self.agent, question)
        assert answer["answer"] == "Ana Ruiz finished it [1]."
        return bool(answer["cached"])

    async def cache(self, question: str = QUESTION) -> None:
        await until(lambda: self.is_cached(question))

    async def invalidated(self, **what: int) -> int:
        path = "/api/admin/cache"
        return int((await self.one.json("DELETE", path, params=what))["invalidated"])


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    async with clustered() as running:
        yield running


@pytest.fixture(scope="module")
async def vendor() -> AsyncIterator[VendorServer]:
    async with VendorServer() as server:
        yield server


@pytest.fixture(autouse=True)
def script(vendor: VendorServer) -> None:
    vendor.script = Script(tokens=TOKENS)


@pytest.fixture(scope="module")
async def replicas(
    connections: dict[str, Any], cluster: Cluster, vendor: VendorServer
) -> AsyncIterator[tuple[Live, Live]]:
    settings: dict[str, Any] = {
        **connections,
        "redis_url": cluster.url,
        "openai_api_key": "test",
        "openai_base_url": vendor.openai_url,
        "cache": {"local_mb": 0, "timeout_seconds": 2.0, "retry_after_seconds": 0.1},
    }
    async with live_service(**settings) as one, live_service(**settings) as other:
        yield one, other


@pytest.fixture(scope="module")
async def tenants(replicas: tuple[Live, Live], cluster: Cluster) -> AsyncIterator[Sequence[Tenant]]:
    """One for each of the cluster's servers, in their order."""
    one, other = replicas
    credentials = one.services.credentials
    found: dict[int, Tenant] = {}
    async with AsyncExitStack() as stack:
        while len(found) < len(cluster.masters):
            key = await credentials.create(unique("tenant"), "test")
            scope = await scope_of(credentials, key)
            assert scope is not None
            seen = [await stack.enter_async_context(each.with_key(key)) for each in (one, other)]
            tenant = Tenant(scope, *seen)
            if (owner := cluster.owner(tenant.tag)) not in found:
                found[owner] = await tenant.furnish()
        yield [found[port] for port in cluster.masters]


async def arrival(vendor: VendorServer, before: int) -> None:
    async with vendor.arrived:
        await vendor.arrived.wait_for(lambda: len(vendor.requests) > before)


async def names(cluster: Cluster, port: int, tag: str) -> list[str]:
    async with cluster.server(port) as server:
        return [name async for name in server.scan_iter(f"*{tag}*", count=1000)]


async def test_each_tenant_has_all_of_its_keys_on_one_server(
    cluster: Cluster, tenants: Sequence[Tenant], replicas: tuple[Live, Live]
) -> None:
    for tenant in tenants:
        assert not await tenant.is_cached()
        assert await tenant.is_cached()
        there = [port for port in cluster.masters if await names(cluster, port, tenant.tag)]
        assert there == [cluster.owner(tenant.tag)]
    assert (await replicas[0].services.readiness())["redis"] == "ok"
    report = await replicas[0].services.performance.report()
    assert (report["scope"], report["processes"]) == ("all", 2)


async def test_what_belongs_to_something_is_forgotten_with_it(
    cluster: Cluster, tenants: Sequence[Tenant]
) -> None:
    here, elsewhere = tenants[:2]
    await elsewhere.cache()
    for what in ({"agent_id": here.agent}, {"portfolio_id": here.portfolio}, {}):
        await here.cache()
        # The answer, its passages, and the list of questions that it may be found by.
        assert await here.invalidated(**what) == 3
        assert not await here.is_cached()
    assert await elsewhere.is_cached()

    async def is_freed() -> bool:
        found = await names(cluster, cluster.owner(here.tag), here.tag)
        return not [name for name in found if name.startswith("cache:dropped:")]

    await until(is_freed)


async def test_the_same_at_once_is_one_call_for_both_processes(
    tenants: Sequence[Tenant], vendor: VendorServer
) -> None:
    for tenant in tenants:
        gate, before, question = asyncio.Event(), len(vendor.requests), f"{QUESTION} ({unique('')})"
        vendor.script = Script(tokens=TOKENS, gates={2: gate})
        leading = asyncio.create_task(tenant.one.ask(tenant.agent, question))
        await arrival(vendor, before)
        following = asyncio.create_task(tenant.other.stream(tenant.agent, question))
        runs = tenant.other.services.engine.runs
        await until(lambda runs=runs: len(runs.active) == 1)  # type: ignore[misc]
        gate.set()
        answer, told = await asyncio.gather(leading, following)
        said = "".join(event["content"] for event in told if event["type"] == "token")
        assert said == answer["answer"]
        assert len(vendor.requests) == before + 1


async def test_a_run_is_followed_and_cancelled_on_the_other_process(
    tenants: Sequence[Tenant], vendor: VendorServer
) -> None:
    for tenant in tenants:
        told, own = await followed(tenant, vendor)
        assert told == own
        vendor.script = Script(tokens=TOKENS, gates={2: asyncio.Event()})
        before = len(vendor.requests)
        asking = asyncio.create_task(tenant.one.stream(tenant.agent, QUESTION, cache="off"))
        await arrival(vendor, before)
        [run_id] = tenant.one.services.engine.runs.active
        await tenant.other.json("POST", f"/api/runs/{run_id}/cancel", 202)
        assert (await asking)[-1]["code"] == "interrupted"


async def followed(
    tenant: Tenant, vendor: VendorServer, between: Any = None
) -> tuple[bytes, bytes]:
    """What a run says on another process, where `between` happens in its middle, and on its own."""
    gate, before = asyncio.Event(), len(vendor.requests)
    vendor.script = Script(tokens=TOKENS, gates={3: gate})
    body = {"message": QUESTION, "cache": "off"}
    path = f"/api/agents/{tenant.agent}/chat/stream"
    async with tenant.one.http.stream("POST", path, json=body) as response:
        own = response.aiter_bytes()
        said = await anext(own)
        run_id = said.split(b'"run_id":"')[1][:36].decode()
        await arrival(vendor, before)
        async with tenant.other.http.stream("GET", f"/api/runs/{run_id}/events") as attached:
            if between is not None:
                await between()
            gate.set()
            return await attached.aread(), b"".join([said, *[each async for each in own]])


@pytest.fixture
async def caches(cluster: Cluster) -> AsyncIterator[Sequence[RedisCache]]:
    """Two processes'."""
    opened = [RedisCache(cluster.url, timeout_seconds=1, retry_after_seconds=0.1) for _ in range(2)]
    yield opened
    for each in opened:
        await each.aclose()


async def test_limits_are_those_of_all_processes(caches: Sequence[RedisCache]) -> None:
    limits = Limits(tenant=Limit(requests_per_minute=30, streams=5))
    installation = unique("test")
    processes = [
        Limiter(limits, RedisCounts(each, installation), LocalCounts(lambda: 0.0, 4))
        for each in caches
    ]
    for tenant in range(1, 4):
        admitted = await asyncio.gather(
            *(each.admit(Scope(tenant), requests=1, streams=1) for each in processes * 10)
        )
        assert sum(each.error is None for each in admitted) == 5
    for process in processes:
        await process.aclose()


async def test_a_batch_for_several_servers_is_answered_in_its_order(
    cluster: Cluster, caches: Sequence[RedisCache]
) -> None:
    ask, keys = caches[0].servers.ask, [unique("key") for _ in range(30)]
    assert {cluster.owner(key) for key in keys} == set(cluster.masters)
    assert await ask(*(("SET", key, key, "EX", 60) for key in keys)) == [b"OK"] * 30
    assert await ask(*(("GET", key) for key in keys)) == [key.encode() for key in keys]
    with pytest.raises(ResponseError, match="not an integer"):
        await ask(*(("INCR" if number == 7 else "DEL", key) for number, key in enumerate(keys)))
    left = await caches[1].get_many(keys)
    assert left == [key.encode() if number == 7 else None for number, key in enumerate(keys)]


async def test_a_server_that_hangs_holds_up_nobody_elses(
    cluster: Cluster, caches: Sequence[RedisCache]
) -> None:
    cache, hanging = caches[0], cluster.masters[1]
    keys = {cluster.owner(key): key for key in (unique("key") for _ in range(30))}
    values = {port: key.encode() for port, key in keys.items()}

    async def found() -> dict[int, bytes | None]:
        return {port: (await cache.get_many([key]))[0] for port, key in keys.items()}

    for port, key in keys.items():
        await cache.put(key, values[port], 60, [])
    cluster.signal(hanging, signal.SIGSTOP)
    try:
        for _ in range(3):
            assert await found() == {**values, hanging: None}
        assert (cache.state, cache.counts.failed, cache.counts.skipped) == ("away", 1, 2)
        assert not await cache.ping()
    finally:
        cluster.signal(hanging, signal.SIGCONT)

    async def all_are_found() -> bool:
        return await found() == values

    await until(all_are_found)
    await until(cluster.is_whole)


async def test_where_no_server_is_there_is_no_redis() -> None:
    hosts = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    cache = RedisCache(f"redis+cluster://{hosts}", timeout_seconds=1, retry_after_seconds=60)
    try:
        assert await cache.get_many(["key"]) == [None]
        assert await cache.drop("tag") == 0
        assert not await cache.ping()
        assert (cache.state, cache.counts.failed, cache.counts.skipped) == ("away", 1, 2)
    finally:
        await cache.aclose()


async def test_a_tenant_that_is_moved_is_served_from_where_it_is(
    cluster: Cluster, tenants: Sequence[Tenant], vendor: VendorServer
) -> None:
    """There and back; questions are asked all the while, and a run is followed."""
    tenant, source, target = tenants[0], cluster.masters[0], cluster.masters[1]
    await tenant.cache()
    asked, done = 0, asyncio.Event()

    async def ask_on() -> None:
        nonlocal asked
        while not done.is_set():
            assert await tenant.is_cached()
            asked += 1

    async def step() -> None:
        before = asked
        await until(lambda: asked > before + 2)

    async def move() -> None:
        await cluster.begin_move(tenant.tag, source, target)
        await step()
        while await cluster.move_keys(tenant.tag, source, target, 3):
            await step()
        await cluster.end_move(tenant.tag, source, target)
        await step()

    asking = asyncio.create_task(ask_on())
    told, own = await followed(tenant, vendor, move)
    assert told == own
    assert not await names(cluster, source, tenant.tag)
    new = f"{QUESTION} ({unique('')})"
    await tenant.cache(new)
    assert await names(cluster, target, tenant.tag)
    await cluster.move(tenant.tag, target, source)
    await step()
    done.set()
    await asking
    assert await tenant.is_cached(new)


async def test_a_server_that_dies_takes_nothing_but_the_cache_of_its_tenants(
    cluster: Cluster, tenants: Sequence[Tenant], replicas: tuple[Live, Live]
) -> None:
    hurt, unhurt = tenants[0], tenants[1:]
    replica = await cluster.add_replica(cluster.masters[0])
    for tenant in tenants:
        await tenant.cache()
    services = replicas[0].services
    await cluster.kill(cluster.masters[0])
    for _ in range(2):
        for tenant in unhurt:
            assert await tenant.is_cached()
        assert not await hurt.is_cached()
    told = await hurt.one.stream(hurt.agent, QUESTION)
    assert told[-1]["type"] == "done"
    assert services.cache.statistics()["redis"]["state"] == "away"
    assert (await services.readiness())["redis"].startswith("degraded")
    # Its replica takes over.
    await until(hurt.is_cached, pause=LONG_PAUSE_SECONDS)
    assert await names(cluster, replica, hurt.tag)
    # Each process sees it for itself, within a second.
    await until(lambda: services.cache.statistics()["redis"]["state"] == "ok")
    for tenant in unhurt:
        assert await tenant.is_cached()
