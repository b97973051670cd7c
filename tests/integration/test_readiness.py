"""What `/readyz` says of the dependencies, with real clients of servers that are scripted."""

import asyncio
from typing import Any

import pytest

from app.bootstrap.readiness import Readiness
from app.encoder.rerank_client import RerankerClient
from app.stores.database import Database
from app.stores.redis_cache import NoCache
from tests.support.encoder import Reply, scripted_server
from tests.support.pg_stores import Stores
from tests.support.vendors import unused_url


@pytest.fixture
def database(stores: Stores) -> Database:
    return stores.database


async def state(database: Database, url: str) -> str:
    reranker = RerankerClient(url)
    try:
        return (await Readiness(database, [], NoCache(), reranker)())["reranker"]
    finally:
        await reranker.aclose()


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (200, "ok"),
        (404, "ok"),  # a server that is there, and has no such path
        (503, "degraded: The reranker answered 503."),
    ],
)
async def test_a_reranker_is_asked_for_nothing_but_a_sign(
    database: Database, status: int, told: str
) -> None:
    paths = []

    async def answer(path: str, body: dict[str, Any]) -> Reply:
        paths.append(path)
        return status, {}, {}

    async with scripted_server(answer) as url:
        assert await state(database, url) == told
    assert paths == ["/health"]


async def test_a_reranker_that_is_away_is_no_reason_to_be_down(database: Database) -> None:
    assert await state(database, unused_url()) == (
        "degraded: The reranker cannot be reached just now."
    )


async def test_what_hangs_is_told_before_a_probe_gives_up(database: Database) -> None:
    hanging = asyncio.Event()

    async def answer(path: str, body: dict[str, Any]) -> Reply:
        await hanging.wait()
        return 200, {}, {}

    async with scripted_server(answer) as url:
        reranker = RerankerClient(url)
        told = await Readiness(database, [], NoCache(), reranker, patience_seconds=0.05)()
        hanging.set()
        await reranker.aclose()
    assert told["reranker"] == "degraded: no answer within 0 s"
    assert told["postgres"] == "ok"


async def test_without_a_reranker_there_is_none_to_be_named(database: Database) -> None:
    assert set(await Readiness(database, [], NoCache())()) == {"postgres", "redis", "encoder"}


class Meeting:
    """Answers once as many have come as are expected."""

    def __init__(self, count: int) -> None:
        self._barrier = asyncio.Barrier(count)

    async def ping(self) -> None:
        await self._barrier.wait()


async def test_all_are_asked_at_once(database: Database) -> None:
    both = Meeting(2)
    async with asyncio.timeout(10):
        told = await Readiness(database, [both], NoCache(), both)()
    assert told["encoder"] == told["reranker"] == "ok"
