"""What Prometheus is told: counts by template and status, and nothing that a caller wrote."""

import asyncio

import httpx2
import pytest

from app.api.metrics import FRESH_SECONDS, ApiMetrics
from app.shares import ledger, table
from tests.support.api_fakes import ANSWERED, World, client_of
from tests.support.scraped import Samples, samples, scrape


async def test_requests_are_counted_by_method_template_and_status(
    client: httpx2.AsyncClient,
) -> None:
    for path in ("/api/agents/1", "/api/agents/1", "/api/agents/77", "/healthz"):
        await client.get(path)
    await client.post("/api/agents", content=b"{")
    requests = (await scrape(client))["citestream_http_requests_total"]
    assert requests == {
        ("GET", "/api/agents/{agent_id}", "200"): 2,
        ("GET", "/api/agents/{agent_id}", "404"): 1,
        ("GET", "/healthz", "200"): 1,
        ("POST", "/api/agents", "415"): 1,
    }
    again = (await scrape(client))["citestream_http_requests_total"]
    assert again["GET", "/metrics", "200"] == 1


async def test_a_caller_cannot_make_labels(client: httpx2.AsyncClient) -> None:
    for word in ("one", "two"):
        await client.request(word.upper(), f"/api/{word}")
        await client.get(f"/{word}?{word}={word}")
    requests = (await scrape(client))["citestream_http_requests_total"]
    assert set(requests) == {("other", "(no route)", "404"), ("GET", "(no route)", "404")}


async def test_an_error_that_nobody_expected_is_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> dict[str, str]:
        raise RuntimeError

    monkeypatch.setattr(world, "readiness", broken)
    async with client_of(world) as client:
        await client.get("/readyz")
        requests = (await scrape(client))["citestream_http_requests_total"]
    assert requests == {("GET", "/readyz", "500"): 1}


async def test_query_vectors_encoders_and_the_process(client: httpx2.AsyncClient) -> None:
    found = await scrape(client)
    vectors = found["citestream_query_vectors_total"]
    assert vectors == {(each,): 4 for each in ("local_hit", "shared_hit", "joined", "encoded")}
    assert found["citestream_encoder_available"] == {("main", "0"): 1, ("next", "0"): 0}
    assert found["process_resident_memory_bytes"]["0",] > 1e6
    assert found["process_cpu_seconds_total"]["0",] > 0
    assert found["citestream_workers"] == {(): 1}


async def test_caches_and_redis(client: httpx2.AsyncClient) -> None:
    found = await scrape(client)
    lookups = found["citestream_cache_lookups_total"]
    assert lookups == {("answers",): 8, ("passages",): 8, ("semantic",): 0}
    hits = found["citestream_cache_hits_total"]
    assert (hits["answers", "local"], hits["answers", "shared"]) == (1, 2)
    assert found["citestream_cache_puts_total"]["passages",] == 3
    reasons = found["citestream_redis_unanswered_total"]
    assert reasons == {("refused",): 1, ("failed",): 2, ("skipped",): 3}
    assert found["citestream_redis_available"] == {("0",): 0}
    assert found["citestream_local_cache_bytes"] == {("0",): 6}


async def test_what_waits_to_be_indexed(world: World, client: httpx2.AsyncClient) -> None:
    found = await scrape(client)
    assert found["citestream_documents_waiting"] == {(): 0}
    assert found["citestream_documents_oldest_seconds"] == {(): 2.5}
    world.documents.away = True
    found = await scrape(client)
    assert "citestream_documents_waiting" not in found
    assert found["citestream_workers"] == {(): 1}, "the rest is there"


async def test_pools_and_breakers(client: httpx2.AsyncClient) -> None:
    found = await scrape(client)
    assert found["citestream_pool_size"] == {("questions", "0"): 10, ("openai", "0"): 9}
    in_use = found["citestream_pool_in_use"]  # whoever does not know it is silent
    assert in_use == {("questions", "0"): 1, ("encoder_main", "0"): 0}
    assert found["citestream_pool_acquired_total"] == {("openai",): 7, ("encoder_main",): 8}
    assert found["citestream_breaker_state"] == {
        ("extractive", "0"): 0,
        ("openai", "0"): 1,
        ("redis", "0"): 2,
    }


async def test_a_stream_is_open_until_its_end(world: World, client: httpx2.AsyncClient) -> None:
    gate = asyncio.Event()
    world.engine.script = [*ANSWERED[:3], gate, *ANSWERED[3:]]
    asking = asyncio.create_task(
        client.post("/api/agents/1/chat/stream", json={"message": "What is React?"})
    )
    await world.engine.started.get()
    for _ in range(100):  # the response begins behind the run's first event
        await asyncio.sleep(0)
        found = await scrape(client)
        if found["citestream_open_streams"]["0",]:
            break
    assert found["citestream_open_streams"] == found["citestream_active_runs"] == {("0",): 1}
    gate.set()
    assert (await asking).status_code == 200
    found = await scrape(client)
    assert found["citestream_open_streams"] == found["citestream_active_runs"] == {("0",): 0}


async def test_it_needs_no_credential(world: World) -> None:
    world.anonymous_owner = False
    async with client_of(world) as client:
        assert await scrape(client)


async def test_each_application_counts_for_itself(world: World) -> None:
    one, other = ApiMetrics(), ApiMetrics()
    one.count("GET", "/healthz", 200)
    async with world.services() as services:
        assert b'route="/healthz"' in one.render(services)
        assert b'route="/healthz"' not in other.render(services)


class Processes:
    """Two that serve one address, on a clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0
        self._shared = table(2)

    def begin(self, slot: int) -> ApiMetrics:
        return ApiMetrics(ledger(self._shared, 2, slot), lambda: self.now)


def counted(rendered: bytes, name: str) -> Samples:
    return samples(rendered.decode())[name]


REQUESTS, LOADED = "citestream_http_requests_total", "citestream_stage_seconds_count"
HEALTHY = ("GET", "/healthz", "200")


async def test_whichever_process_is_asked_it_tells_of_all(world: World) -> None:
    pair = Processes()
    async with world.services() as here, World().services() as there:
        one, other = pair.begin(0), pair.begin(1)
        for count, services, metrics in ((2, here, one), (3, there, other)):
            for _ in range(count):
                metrics.count("GET", "/healthz", 200)
                services.monitor.observe({"load": 5})
            metrics.render(services)
        told = [one.render(here), other.render(there)]
    for each in told:
        assert counted(each, REQUESTS)[HEALTHY] == 5
        assert counted(each, LOADED) == {("load",): 5}
        assert counted(each, "citestream_cache_puts_total")["answers",] == 6
        assert set(counted(each, "process_cpu_seconds_total")) == {("0",), ("1",)}
        assert counted(each, "citestream_workers") == {(): 2}


async def test_what_a_process_has_counted_outlives_it(world: World) -> None:
    pair = Processes()
    async with world.services() as services, World().services() as later:
        survivor, gone = pair.begin(0), pair.begin(1)
        gone.count("GET", "/healthz", 200)
        services.monitor.observe({"load": 5})
        assert counted(gone.render(services), REQUESTS) == {HEALTHY: 1}
        pair.now += FRESH_SECONDS + 1  # it was killed, and nobody has come yet
        rendered = survivor.render(later)
        assert counted(rendered, REQUESTS) == {HEALTHY: 1}
        assert counted(rendered, "citestream_workers") == {(): 1}
        assert set(counted(rendered, "citestream_active_runs")) == {("0",)}
        instead = pair.begin(1)
        instead.count("GET", "/healthz", 200)
        for rendered in (instead.render(later), survivor.render(later)):
            assert counted(rendered, REQUESTS) == {HEALTHY: 2}
            assert counted(rendered, LOADED) == {("load",): 1}


async def test_a_process_tells_the_others_to_its_last(world: World) -> None:
    pair = Processes()
    async with world.services() as services:
        one, other = pair.begin(0), pair.begin(1)
        async with one.published(services):
            one.count("GET", "/healthz", 200)
        assert counted(other.render(services), REQUESTS) == {HEALTHY: 1}
