"""What Prometheus is told: counts by template and status, and nothing that a caller wrote."""

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.metrics import ApiMetrics
from tests.support.api_fakes import FakeCache, FakeEncoders, World, client_of

Samples = dict[tuple[str, ...], float]


async def scrape(client: httpx2.AsyncClient) -> dict[str, Samples]:
    """The values of each metric by its labels' values, in the order of the labels' names."""
    response = await client.get("/metrics", headers={"Host": "pod.internal"})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


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
    assert found["citestream_encoder_available"] == {("main",): 1, ("next",): 0}
    assert found["process_resident_memory_bytes"][()] > 1e6


async def test_caches_and_redis(client: httpx2.AsyncClient) -> None:
    found = await scrape(client)
    lookups = found["citestream_cache_lookups_total"]
    assert lookups == {("answers",): 8, ("passages",): 8, ("semantic",): 0}
    hits = found["citestream_cache_hits_total"]
    assert (hits["answers", "local"], hits["answers", "shared"]) == (1, 2)
    assert found["citestream_cache_puts_total"]["passages",] == 3
    reasons = found["citestream_redis_unanswered_total"]
    assert reasons == {("refused",): 1, ("failed",): 2, ("skipped",): 3}
    assert found["citestream_redis_available"] == {(): 0}


async def test_it_needs_no_credential(world: World) -> None:
    world.anonymous_owner = False
    async with client_of(world) as client:
        assert await scrape(client)


def test_each_application_counts_for_itself() -> None:
    one, other = ApiMetrics(), ApiMetrics()
    one.count("GET", "/healthz", 200)
    assert b'route="/healthz"' in one.render(FakeEncoders(), FakeCache(), [])
    assert b'route="/healthz"' not in other.render(FakeEncoders(), FakeCache(), [])
