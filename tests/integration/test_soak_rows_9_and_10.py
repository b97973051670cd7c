"""Rows 9 and 10 of the soak at a small scale, on replicas that are processes: what they promise
holds, as far as it is no matter of time."""

import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.soak.deployment import Deployment, deployment
from tests.soak.faults.crowd import Pace
from tests.soak.row import Figures, Row, Stage
from tests.soak.rows import row_09, row_10

PACE = Pace(12, opening=0.4, first=0.4, last=1.5, word=0.1)


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Deployment]:
    folder = Path(tempfile.mkdtemp(prefix="citestream-test-"))
    folder.chmod(0o711)
    stage = Stage(1.0, folder, random.Random(0), lambda _: None)
    async with deployment(stage, replicas=2, through_proxies=False) as running:
        yield running
    shutil.rmtree(folder)


@pytest.mark.parametrize("kill", row_09.KILLS, ids=lambda each: each.name)
async def test_postgres_may_die(running: Deployment, kill: row_09.Kill) -> None:
    agent, tally = await row_09.prepared(running, PACE), row_09.Tally()
    await row_09.one_round(running, agent, PACE, kill, tally, kill.name)
    figures = row_09.counted(tally)
    kept = {name: value for name, value in figures.items() if name in row_09.LIMITS}
    assert tally.open[0] > 0
    assert broken(row_09.ROW, kept) <= {
        "acknowledged messages",
        "streams that were told that it failed",
        "streams that ended with the whole answer",
        row_09.BACK,
    }, running.stage.notes


async def test_replicas_behind_nginx_are_restarted_unnoticed(running: Deployment) -> None:
    scale = row_10.Scale(PACE, words=4, rolls=1)
    figures = await collected(row_10.rolled(running.stage, running, scale))
    assert figures["replicas restarted"] == 2
    assert broken(row_10.ROW, figures) <= {
        "short requests meanwhile",
        "streams meanwhile",
    }, running.stage.notes


async def test_a_process_that_is_told_to_end_truncates_nothing(running: Deployment) -> None:
    await running.start_replica(CITESTREAM_DRAIN_SECONDS="3")
    pace = Pace(12, opening=0.4, first=0.1, last=4.0, word=0.1)
    figures = await collected(
        row_10.drained(running.stage, running, row_10.Scale(pace, words=4, rolls=1))
    )
    assert figures["streams open at SIGTERM"] > 0
    assert broken(row_10.ROW, figures) <= {
        "streams open at SIGTERM",
        "of its streams: with the whole answer",
        "of its streams: told that they were interrupted",
    }, running.stage.notes


async def collected(measured: Figures) -> dict[str, float]:
    return {name: value async for name, value in measured}


def broken(row: Row, figures: dict[str, float]) -> set[str]:
    limits = {name: limit for name, limit in row.limits.items() if name in figures}
    return {name for name, limit in limits.items() if not limit.allows(figures[name])}
