"""A deployment of two replicas that are processes does what the soak's scenarios take for granted;
and rows 1, 8 and 11 on it at a small scale: what they promise holds, as far as it is no matter of
time."""

import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak.asking import ask, follow, rss_mb, statistics_of, stream
from tests.soak.deployment import Deployment, deployment
from tests.soak.provider import words_of
from tests.soak.row import Figures, Row, Stage
from tests.soak.rows import row_01, row_08, row_11
from tests.soak.starting import Start


@pytest.fixture(scope="module")
async def running(forked_start: Start) -> AsyncIterator[Deployment]:
    folder = Path(tempfile.mkdtemp(prefix="citestream-test-"))
    folder.chmod(0o711)
    stage = Stage(1.0, folder, random.Random(0), lambda _: None, start=forked_start)
    variables = {"CITESTREAM_DATABASE__POOL_SIZE": "3", **row_08.WITHOUT_MEMORY}
    async with deployment(stage, replicas=2, **variables) as running:
        yield running
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def unpaced(running: Deployment) -> None:
    provider = running.provider
    provider.first_token_seconds = provider.token_seconds = 0.0
    provider.reply = words_of


async def test_a_deployment_answers_whatever_was_done_to_it(running: Deployment) -> None:
    url, http = running.urls[0], running.http
    portfolio = await running.portfolio(Atlas="Atlas was finished in 2021 by Ana Ruiz.")
    agent = await running.agent(portfolio)
    first = await stream(http, url, agent, "Who finished Atlas?")
    assert (first.status, first.ended, first.last_id) == (200, "done", len(first.events))
    assert first.text == "".join(words_of({"messages": [{"content": "Who finished Atlas?"}]}))
    assert first.events[1]["sources"][0]["title"] == "Atlas"
    assert first.run_id is not None
    rest = await follow(http, url, first.run_id, after=3)
    assert first.raw.endswith(rest.raw)
    assert (await ask(http, url, agent, "Who finished Atlas?")).json()["cached"]
    running.kill_redis()
    assert not (await ask(http, url, agent, "Who finished Atlas?")).json()["cached"]
    await running.start_redis()
    running.kill_postgres()
    await running.start_postgres()
    assert (await running.behind("SELECT count(*) FROM messages"))[0][0] >= 6
    started = await running.start_replica()
    await running.kill_replica(0)
    assert (await stream(http, started.url, agent, "And when?")).ended == "done"
    assert rss_mb(started.process.pid) > 10
    assert await statistics_of(http, started.url)
    del running.replicas[0]  # two are left, as before


async def test_no_stream_holds_a_connection(running: Deployment) -> None:
    scale = row_01.Scale(40, 0.5, 1.0, 1.0)
    figures = await collected(row_01.scenario(running.stage, running, scale))
    assert figures["streams open at once"] == 40
    assert figures["samples of the database's connections"] == 10
    assert broken(row_01.ROW, figures) <= {
        "streams open at once",
        "samples of the database's connections",
        "cached answer: times as long at p99",
        "look at an agent: times as long at p99",
    }


@pytest.mark.parametrize("fault", row_08.FAULTS, ids=lambda each: each.name)
async def test_redis_is_optional(running: Deployment, fault: row_08.Fault) -> None:
    scale = row_08.Scale(12, 0.6)
    agent = await row_08.prepared(running, scale)
    asked, _ = await row_08.under(fault, running, agent, scale)
    assert len(asked) == 12
    assert row_08.failures(running.stage, asked) == 0, running.stage.notes
    assert running.provider.open == 0


async def test_slow_readers_cost_little(running: Deployment) -> None:
    scale = replace(row_11.FULL, readers=20, seconds=3.0, timed_seconds=0.5)
    figures = await collected(row_11.scenario(running.stage, running, scale))
    assert figures["slow readers that were not dropped"] == 20
    assert broken(row_11.ROW, figures) <= {
        "slow readers",
        "slow readers that were not dropped",
        "seconds until the last was dropped",
        "times as long at p99",
    }


async def collected(measured: Figures) -> dict[str, float]:
    return {name: value async for name, value in measured}


def broken(row: Row, figures: dict[str, float]) -> set[str]:
    return {name for name, limit in row.limits.items() if not limit.allows(figures[name])}
