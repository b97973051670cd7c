"""What a caller may use, over real sockets: the same on the sync and the stream path."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from app.embedded.home import open_home
from app.embedded.valkey import Valkey
from tests.support.live import PLAIN, Live, events, live_service, unique
from tests.support.vendors import Script, VendorServer
from tests.support.waiting import until

TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
QUESTION = "Who finished the Atlas project?"
TOKENS = ["Ana", " Ruiz", " finished", " it", " [1]", "."]
PATHS = ("chat", "chat/stream")
# A token of a prompt costs 0.01, and so does one of an answer.
PRICES = {"gpt-4o-mini": (10_000, 10_000)}


@pytest.fixture(scope="module")
async def vendor() -> AsyncIterator[VendorServer]:
    async with VendorServer() as server:
        yield server


@pytest.fixture(autouse=True)
def answering(vendor: VendorServer) -> None:
    vendor.script, vendor.scripts = Script(tokens=TOKENS, usage=(50, 10)), []


@pytest.fixture
async def tenant(live: Live) -> AsyncIterator[Live]:
    """A tenant of the test's own, by a key of its own, on a service without limits."""
    key = await live.services.credentials.create(unique("tenant"), "test")
    async with httpx2.AsyncClient(base_url=live.url, headers=bearer(key), **PLAIN) as http:
        yield replace(live, http=http)


@pytest.fixture
async def agent(tenant: Live) -> int:
    portfolio = await tenant.portfolio(unique("docs"), Atlas=TEXT)
    return await tenant.agent(unique("agent"), portfolio, max_tokens=40)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def limited(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live, **settings: Any
) -> AsyncIterator[Live]:
    """A service with limits, as the tenant's key sees it."""
    configured = {
        **connections,
        "openai_api_key": "test",
        "openai_base_url": vendor.openai_url,
        "prices": PRICES,
        **settings,
    }
    headers = {"Authorization": tenant.http.headers["authorization"]}
    async with (
        live_service(**configured) as live,
        httpx2.AsyncClient(base_url=live.url, headers=headers, **PLAIN) as http,
    ):
        yield replace(live, http=http)


async def asked(live: Live, agent: int, path: str, **body: Any) -> httpx2.Response:
    """A question's whole response."""
    body = {"message": QUESTION, **body}
    return await live.http.post(f"/api/agents/{agent}/{path}", json=body)


def assert_refused(response: httpx2.Response, code: str = "rate_limited") -> None:
    body = response.json()
    assert (response.status_code, body["code"], body["status"]) == (429, code, 429), body
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1


async def idle(live: Live) -> None:
    """Wait until nothing is produced and all that was used is told."""
    assert live.services.limits is not None
    await until(lambda: not live.services.engine.runs.active)
    await live.services.limits.settling.all_told()


async def test_requests_are_counted_on_every_path(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live, agent: int
) -> None:
    limits = {"key": {"requests_per_minute": 4}}
    async with limited(connections, vendor, tenant, limits=limits) as live:
        ways = [
            lambda: asked(live, agent, "chat"),
            lambda: asked(live, agent, "chat/stream"),
            lambda: live.http.get("/api/agents"),
            lambda: live.http.post(f"/api/agents/{agent}/chat", json={"message": ""}),
        ]
        for left, way in zip((3, 2, 1, 0), ways, strict=True):
            response = await way()
            assert response.status_code in (200, 422)
            assert response.headers["ratelimit-limit"] == "4"
            assert response.headers["ratelimit-remaining"] == str(left)
            assert 0 < int(response.headers["ratelimit-reset"]) <= 60
            assert response.headers["ratelimit-policy"] == '4;w=60;comment="requests of the key"'
        for way in ways:
            response = await way()
            assert_refused(response)
            assert response.headers["ratelimit-remaining"] == "0"
            assert 1 <= int(response.headers["retry-after"]) <= 15
        again = {"Idempotency-Key": unique("key")}
        assert_refused(
            await live.http.post(
                f"/api/agents/{agent}/chat", json={"message": QUESTION}, headers=again
            )
        )
        assert (await live.http.get("/healthz")).status_code == 200
        scraped = (await live.http.get("/metrics")).text
        assert 'citestream_limited_total{reason="requests"} 5.0' in scraped
        assert 'citestream_limited_total{reason="cost"} 0.0' in scraped


async def test_another_key_of_the_tenant_has_limits_of_its_own_within_the_tenant_s(
    connections: dict[str, Any], vendor: VendorServer, live: Live
) -> None:
    name = unique("tenant")
    keys = [await live.services.credentials.create(name, "test") for _ in range(3)]
    limits = {"key": {"requests_per_minute": 2}, "tenant": {"requests_per_minute": 5}}
    async with limited(connections, vendor, live_as(live, keys[0]), limits=limits) as service:
        statuses = [
            (await service.http.get("/api/agents", headers=bearer(key))).status_code
            for key in keys
            for _ in range(3)
        ]
        assert statuses == [200, 200, 429, 200, 200, 429, 200, 429, 429]


async def test_the_keys_of_one_user_count_together_and_the_owner_for_the_tenant(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live
) -> None:
    email = f"{unique('ana')}@example.com"
    user = await tenant.json("POST", "/api/users", 201, json={"email": email, "role": "member"})
    body = {"name": "laptop", "user_id": user["id"]}
    keys = [(await tenant.json("POST", "/api/keys", 201, json=body))["key"] for _ in range(2)]
    one, three = {"requests_per_minute": 1}, {"requests_per_minute": 3}
    limits = {"key": one, "user": three, "tenant": {"requests_per_minute": 5}}
    async with limited(connections, vendor, tenant, limits=limits) as live:
        headers = [bearer(keys[number % 2]) for number in range(4)]
        told = [await live.http.get("/api/agents", headers=each) for each in headers]
        assert [each.status_code for each in told] == [200, 200, 200, 429]
        assert "user" in told[3].json()["detail"]
        async with httpx2.AsyncClient(base_url=live.url, **PLAIN) as owner:
            told = [await owner.get("/api/agents") for _ in range(6)]
        assert [each.status_code for each in told] == [200] * 5 + [429]
        assert told[0].headers["ratelimit-policy"] == '5;w=60;comment="requests of the tenant"'


def live_as(live: Live, key: str) -> Live:
    return replace(live, http=httpx2.AsyncClient(headers=bearer(key), **PLAIN))


async def test_a_question_to_nobody_is_counted_too(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live
) -> None:
    limits = {"key": {"requests_per_minute": 3, "streams": 1}}
    async with limited(connections, vendor, tenant, limits=limits) as live:
        told = [await asked(live, 10**9, PATHS[number % 2]) for number in range(4)]
        assert [each.status_code for each in told] == [404, 404, 404, 429]
        assert [each.headers["ratelimit-remaining"] for each in told] == ["2", "1", "0", "0"]
        stranger = await live.http.post(
            "/api/agents/1/chat", json={"message": "Hi"}, headers=bearer("cs_" + "x" * 43)
        )
        assert (stranger.status_code, "ratelimit-limit" in stranger.headers) == (401, False)


@pytest.mark.parametrize("end", ["done", "cancel", "leave"])
async def test_a_place_among_the_streams_is_free_again_however_it_ends(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live, agent: int, end: str
) -> None:
    limits = {"key": {"streams": 1}}
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={2: gate})
    async with limited(connections, vendor, tenant, limits=limits) as live:
        path = f"/api/agents/{agent}/chat/stream"
        async with live.http.stream("POST", path, json={"message": QUESTION}) as response:
            assert (response.status_code, response.headers["ratelimit-remaining"]) == (200, "0")
            told = events(response)
            run = (await anext(told))["run_id"]
            while (await anext(told))["type"] != "token":
                pass
            for way in PATHS:
                assert_refused(await asked(live, agent, way))
            assert_refused(await live.http.get(f"/api/runs/{run}/events"))
            assert (await live.http.get("/api/agents")).status_code == 200  # which is no stream
            if end == "cancel":
                assert (await live.http.post(f"/api/runs/{run}/cancel")).status_code == 202
            elif end == "done":
                gate.set()
            if end != "leave":
                assert [event["type"] async for event in told][-1] in ("done", "error")
        gate.set()
        async with asyncio.timeout(20):
            while (again := await asked(live, agent, "chat")).status_code == 429:
                pass
        assert again.status_code == 200
        await live.stream(agent, QUESTION)


async def test_an_answer_that_outlives_its_reader_keeps_its_place(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live, agent: int
) -> None:
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={1: gate})
    async with limited(connections, vendor, tenant, limits={"key": {"streams": 1}}) as live:
        path = f"/api/agents/{agent}/chat/stream"
        body = {"message": QUESTION, "grace_seconds": 600}
        async with live.http.stream("POST", path, json=body) as response:
            told = events(response)
            while (await anext(told))["type"] != "token":
                pass
        assert live.services.limits is not None
        runs, limiter = live.services.engine.runs, live.services.limits.limiter
        [run_id] = runs.active
        run = runs.shared((await scope_of(live)).tenant_id, run_id)
        assert run is not None
        await until(lambda: not run._readers)
        assert_refused(await asked(live, agent, "chat"))
        gate.set()
        await until(lambda: not limiter.streams)
        await live.ask(agent, QUESTION)


async def scope_of(live: Live) -> Any:
    credentials = live.services.credentials
    claim = credentials.claim(live.http.headers["authorization"].removeprefix("Bearer "))
    assert claim is not None
    return await credentials.resolve(claim)


async def test_tokens_are_set_aside_and_counted_as_they_were_used(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live, agent: int
) -> None:
    limits = {"key": {"tokens_per_minute": 2500}}
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={1: gate}, usage=(50, 10))
    async with limited(connections, vendor, tenant, limits=limits) as live:
        # Each sets about 1,000 aside.
        both = [asyncio.create_task(asked(live, agent, way, cache="off")) for way in PATHS]
        await until(lambda: len(live.services.engine.runs.active) == 2)
        for path in PATHS:
            refused = await asked(live, agent, path)
            assert_refused(refused)
            assert refused.headers["ratelimit-limit"] == "2500"
            assert refused.headers["ratelimit-policy"] == '2500;w=60;comment="tokens of the key"'
        gate.set()
        assert [(await each).status_code for each in both] == [200, 200]
        await idle(live)
        for path in PATHS * 4:  # what is found in the cache takes nothing
            assert (await asked(live, agent, path)).status_code == 200
            await idle(live)


async def usage(live: Live, **params: Any) -> list[Any]:
    found = await live.json("GET", "/api/admin/usage", params=params)
    assert found["next"] is None
    return list(found["items"])


async def test_the_day_s_cost_bounds_both_paths_and_cached_answers_cost_nothing(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live, agent: int
) -> None:
    # An answer costs 0.60, and about 10 are set aside for it.
    limits = {"tenant": {"cost_per_day": 20.5}}
    async with limited(connections, vendor, tenant, limits=limits) as live:
        for _ in range(3):
            await live.ask(agent, QUESTION)
            await idle(live)
        [day] = await usage(live)
        assert (day["answers"], day["prompt_tokens"], day["completion_tokens"]) == (1, 50, 10)
        assert (day["model"], day["cost"], day["total_tokens"]) == ("gpt-4o-mini", 0.6, 60)
        assert day["subject"].startswith("key:")
        vendor.script = Script(tokens=TOKENS, usage=(2000, 10))
        await live.ask(agent, QUESTION, cache="off")
        await idle(live)
        for path in PATHS:
            response = await asked(live, agent, path)
            assert_refused(response, "quota_exceeded")
            assert not response.json()["retryable"]
            assert int(response.headers["retry-after"]) <= 24 * 3600
        assert (await live.http.get("/api/agents")).status_code == 200
        [day] = await usage(live, days=1)
        assert (day["answers"], day["cost"]) == (2, 20.7)


async def test_many_at_once_do_not_overspend(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live, agent: int
) -> None:
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={1: gate}, usage=(50, 10))
    limits = {"key": {"cost_per_day": 60}}
    async with limited(connections, vendor, tenant, limits=limits) as live:
        before = len(vendor.requests)
        questions = [
            asyncio.create_task(
                asked(live, agent, PATHS[number % 2], cache="off", message=f"Atlas {number}?")
            )
            for number in range(40)
        ]
        # Each sets about 10 aside and takes 0.60 in the end.
        await until(lambda: sum(each.done() for each in questions) > 30)
        gate.set()
        responses = await asyncio.gather(*questions)
        answered = [each for each in responses if each.status_code == 200]
        assert 4 < len(answered) < 9
        for each in responses:
            if each.status_code != 200:
                assert_refused(each, "quota_exceeded")
        assert len(vendor.requests) - before == len(answered)
        await idle(live)
        [day] = await usage(live)
        assert day["cost"] == pytest.approx(0.6 * len(answered))


async def test_a_run_is_paid_once_by_whoever_asks_the_model(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live, live: Live, agent: int
) -> None:
    """Followers pay nothing; what was cancelled is paid as far as it came, by an estimate."""
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={2: gate}, usage=(50, 10))
    limits = {"tenant": {"cost_per_day": 1000}}
    async with limited(connections, vendor, tenant, limits=limits) as live:
        path = f"/api/agents/{agent}/chat/stream"
        async with live.http.stream("POST", path, json={"message": QUESTION}) as response:
            told = events(response)
            run = (await anext(told))["run_id"]
            while (await anext(told))["type"] != "token":
                pass
            followers = [asyncio.create_task(asked(live, agent, way)) for way in PATHS]
            await until(lambda: len(live.services.engine.runs.active) == 3)
            await until(lambda: is_shared(live, 2))
            await live.json("POST", f"/api/runs/{run}/cancel", 202)
            assert [event["type"] async for event in told][-1] == "error"
        gate.set()
        assert {(await each).status_code for each in followers} == {200}
        await idle(live)
        [day] = await usage(live)
        assert (day["answers"], day["cost"]) == (1, 0.6)
        await reserved_nothing(live)


def is_shared(live: Live, count: int) -> bool:
    """Whether so many runs follow one of this process."""
    runs = live.services.engine.runs
    return any(run._sharing >= count for run in runs._active.values())


async def reserved_nothing(live: Live) -> None:
    async with live.services.database.transaction(await scope_of(live)) as connection:  # type: ignore[attr-defined]
        assert await connection.fetchval(
            "SELECT count(*) FROM usage_reservations WHERE NOT settled"
        ) == 0  # fmt: skip


@pytest.mark.parametrize("script", ["status", "reset", "cancel"])
async def test_what_fails_is_settled_too(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live, agent: int, script: str
) -> None:
    vendor.script = {
        "status": Script(status=401),
        "reset": Script(tokens=TOKENS, fault="reset", fault_after=2),
        "cancel": Script(tokens=TOKENS, gates={2: asyncio.Event()}),
    }[script]
    limits = {"key": {"cost_per_day": 1000, "streams": 1, "tokens_per_minute": 100_000}}
    async with limited(connections, vendor, tenant, limits=limits) as live:
        path = f"/api/agents/{agent}/chat/stream"
        async with live.http.stream("POST", path, json={"message": QUESTION}) as response:
            async for event in events(response):
                if event["type"] == "token" and script == "cancel":
                    break
        await idle(live)
        await reserved_nothing(live)
        used = await usage(live)
        assert bool(used) == (script != "status")
        if used:  # by an estimate: nobody counted
            assert 0 < used[0]["completion_tokens"] <= 10
            assert used[0]["cost"] == pytest.approx(used[0]["total_tokens"] * 0.01)
        assert live.services.limits is not None
        await until(lambda: not live.services.limits.limiter.streams)  # type: ignore[union-attr]


@pytest.fixture
async def own_valkey(server_folder: Path) -> AsyncIterator[Valkey]:
    folder = server_folder / unique("valkey")
    folder.mkdir(mode=0o711)
    valkey = Valkey(open_home(folder), folder)
    await valkey.start()
    yield valkey
    valkey.stop()


@pytest.mark.parametrize("away", ["stopped", "hung"])
async def test_while_redis_is_away_local_limits_hold_and_no_request_fails(
    connections: dict[str, Any],
    vendor: VendorServer,
    tenant: Live,
    agent: int,
    own_valkey: Valkey,
    away: str,
) -> None:
    process = psutil.Process(int((own_valkey.home.path / "valkey.pid").read_text()))
    settings = {**connections, "redis_url": own_valkey.url}
    limits = {"key": {"requests_per_minute": 12, "streams": 8, "tokens_per_minute": 10**6}}
    async with limited(settings, vendor, tenant, limits=limits) as live:
        for path in PATHS:
            assert (await asked(live, agent, path)).headers["ratelimit-limit"] == "12"
        own_valkey.stop() if away == "stopped" else process.suspend()
        responses = [await asked(live, agent, PATHS[number % 2]) for number in range(8)]
        # A process alone allows a quarter of twelve.
        assert [each.status_code for each in responses] == [200] * 3 + [429] * 5
        assert responses[0].headers["ratelimit-limit"] == "3"
        for each in responses[3:]:
            assert_refused(each)
        await own_valkey.start() if away == "stopped" else process.resume()
        redis = live.services.cache.statistics
        await until(lambda: redis()["redis"]["state"] == "ok")
        assert (await asked(live, agent, "chat")).headers["ratelimit-limit"] == "12"


async def test_a_request_that_is_sent_again_sets_nothing_aside_twice(
    connections: dict[str, Any], vendor: VendorServer, tenant: Live, agent: int
) -> None:
    limits = {"key": {"requests_per_minute": 100, "cost_per_day": 1000, "streams": 1}}
    async with limited(connections, vendor, tenant, limits=limits) as live:
        key = {"Idempotency-Key": unique("key")}
        for number in range(3):
            response = await live.http.post(
                f"/api/agents/{agent}/chat", json={"message": QUESTION}, headers=key
            )
            assert response.headers["ratelimit-remaining"] == str(99 - number)
            assert response.json()["cached"] is False  # the same run each time
        await idle(live)
        await reserved_nothing(live)
        assert [day["answers"] for day in await usage(live)] == [1]


async def test_use_is_told_where_nothing_is_limited(tenant: Live, agent: int) -> None:
    response = await asked(tenant, agent, "chat", cache="off")
    assert response.status_code == 200
    assert not any(name.startswith("ratelimit") for name in response.headers)
    assert tenant.services.limits is None
    async with asyncio.timeout(20):
        while not (days := await usage(tenant)):
            pass
    assert (days[0]["model"], days[0]["cost"], days[0]["answers"]) == ("extractive-1", 0.0, 1)


async def test_usage_is_for_who_administers(tenant: Live) -> None:
    for days in (0, 367, "x"):
        await tenant.json("GET", f"/api/admin/usage?days={days}", 422)
    assert await usage(tenant, days=366) == []
