"""`citestream serve --profile …` with two workers as Prometheus sees it: one service, whichever
worker answers; and as its profile says."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.stream.test_workers import Service, served, variables
from tests.support.scraped import scrape
from tests.support.vendors import VendorServer

HEALTHY = ("GET", "/healthz", "200")
SCRAPES = 1000


@pytest.fixture(scope="module")
async def service(connections: dict[str, Any], server_folder: Path) -> AsyncIterator[Service]:
    profile = server_folder / "two.yaml"
    profile.write_text("workers: 2\ndatabase: {pool_size: 7}")
    async with (
        VendorServer() as vendor,
        served(variables(connections, vendor), "--profile", str(profile)) as running,
    ):
        yield running


async def test_workers_have_the_profile_that_their_parent_was_given(service: Service) -> None:
    async with service.http() as http:
        stats = (await http.get("/api/admin/stats")).json()
    assert stats["pools"]["questions"]["size"] == 7


async def healthy(http: httpx2.AsyncClient) -> float:
    """How often the service has said so, by whichever worker is asked."""
    return (await scrape(http))["citestream_http_requests_total"].get(HEALTHY, 0)


async def until(service: Service, count: int) -> list[float]:
    """Scrape until somebody knows of so many; what was read until then."""
    read = []
    async with service.http() as http:
        for _ in range(SCRAPES):
            read.append(await healthy(http))
            if read[-1] == count:
                break
    return read


async def test_counters_are_everybodys_and_never_go_back(service: Service) -> None:
    async with service.http() as http:
        for _ in range(20):
            assert (await http.get("/healthz")).status_code == 200
    read = await until(service, 20)
    assert read[-1] == 20
    async with service.http() as http:  # both have told by now what they have counted
        found = await scrape(http)
    assert found["citestream_workers"] == {(): 2}
    assert {worker for (worker,) in found["process_resident_memory_bytes"]} == {"0", "1"}
    for pid in service.workers[:2]:
        os.kill(pid, signal.SIGKILL)
        await service.replacement()
        read += await until(service, 20)
        assert read[-1] == 20
    async with service.http() as http:
        assert (await http.get("/healthz")).status_code == 200
    read += await until(service, 21)
    assert read[-1] == 21
    assert read == sorted(read), "it went back"
