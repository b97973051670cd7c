"""Rows 9, 10, 23 and 24 of the soak at a small scale, on replicas that are processes: what they
promise holds, as far as it is no matter of time."""

import asyncio
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from app.api.sse import EventStream, frame
from app.chat.model import Scope
from app.chat.run import Run
from app.serving import listen, make_server
from tests.soak.deployment import Deployment, beside, deployment
from tests.soak.faults.crowd import Pace
from tests.soak.faults.front import front
from tests.soak.row import Figures, Row, Stage
from tests.soak.rows import row_09, row_10, row_23, row_24
from tests.soak.starting import Start
from tests.support.api_fakes import DONE, START
from tests.support.edge import SHIPPED, client, edge

PACE = Pace(12, opening=0.4, first=0.4, last=1.5, word=0.1)
PATH = "/api/agents/1/chat/stream"
SILENT_SECONDS = 2.0


@pytest.fixture(scope="module")
async def running(forked_start: Start) -> AsyncIterator[Deployment]:
    folder = Path(tempfile.mkdtemp(prefix="citestream-test-"))
    folder.chmod(0o711)
    stage = Stage(1.0, folder, random.Random(0), lambda _: None, start=forked_start)
    async with deployment(stage, replicas=2, through_proxies=False) as running:
        yield running
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def unpaced(running: Deployment) -> None:
    running.provider.first_token_seconds = running.provider.token_seconds = 0.0


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
    pace = Pace(12, opening=0.4, first=0.1, last=4.0, word=0.1)
    async with beside(running, 1, CITESTREAM_DRAIN_SECONDS="3") as alone:
        figures = await collected(
            row_10.drained(running.stage, alone, row_10.Scale(pace, words=4, rolls=1))
        )
    assert figures["streams open at SIGTERM"] > 0
    assert broken(row_10.ROW, figures) <= {
        "streams open at SIGTERM",
        "of its streams: with the whole answer",
        "of its streams: told that they were interrupted",
    }, running.stage.notes


async def test_migrations_meet_replicas(running: Deployment) -> None:
    figures = await collected(
        row_23.scenario(running.stage, running, row_23.Scale(processes=2, starts=1, kills=1))
    )
    assert broken(row_23.ROW, figures) <= {
        "times that all started at once",
        "leaders killed on the way",
        "of which behind half of the changes",
    }, running.stage.notes


async def test_first_tokens_come_through_nginx_while_others_are_silent(
    running: Deployment,
) -> None:
    agent = await row_24.prepared(running)
    async with front(running) as door, asyncio.TaskGroup() as group:
        silences = await row_24.silent(running, door, agent, group, SILENT_SECONDS)
        figures = await collected(row_24.first_tokens(running, door, agent, 5))
        figures |= row_24.judged(running.stage, await asyncio.gather(*silences))
    assert broken(row_24.ROW, figures) <= {
        "first token: ms later at p50",
        "first token: ms later at p95",
        "seconds of silence",
        "heartbeats of each, at least",
    }, running.stage.notes


@pytest.mark.parametrize(("heartbeat", "survives"), [(0.2, True), (60.0, False)])
async def test_a_heartbeat_outlasts_the_patience_of_nginx(heartbeat: float, survives: bool) -> None:
    """With the times that both have made shorter; and without it nginx would cut the stream."""
    shipped = (SHIPPED / "stream.conf").read_text()
    impatient = shipped.replace("proxy_read_timeout 180s", "proxy_read_timeout 1s")
    assert impatient != shipped
    async with (
        serving(heartbeat) as address,
        edge(address, stream=impatient) as door,
        client(door) as http,
    ):
        heard = b""
        try:
            async with http.stream("POST", PATH, json={}) as response:
                async for piece in response.aiter_raw():
                    heard += piece
        except httpx2.HTTPError:
            assert not survives
    assert heard.startswith(frame(1, START))
    assert (b":\n\n" in heard) == survives
    assert heard.endswith(frame(2, DONE)) == survives


@asynccontextmanager
async def serving(heartbeat: float) -> AsyncIterator[str]:
    """A service whose streams begin, are silent, and end; its address."""
    application = FastAPI()

    @application.post(PATH)
    async def stream() -> EventStream:
        run = Run(uuid4(), Scope(1, "owner", "owner", None), 0.0, frame)
        run.append(START)
        asyncio.get_running_loop().call_later(SILENT_SECONDS, run.append, DONE)
        return EventStream(run.frames(), heartbeat_seconds=heartbeat)

    async def nothing() -> None:
        """No run of a pipeline is there to be ended."""

    with listen("127.0.0.1", 0) as listener:
        server = make_server(application, end_runs=nothing, drain_seconds=1)
        going = asyncio.create_task(server.serve(sockets=[listener]))
        assert await server.is_up(going)
        host, port = listener.getsockname()
        yield f"{host}:{port}"
        server.stop()
        await going


async def collected(measured: Figures) -> dict[str, float]:
    return {name: value async for name, value in measured}


def broken(row: Row, figures: dict[str, float]) -> set[str]:
    limits = {name: limit for name, limit in row.limits.items() if name in figures}
    return {name for name, limit in limits.items() if not limit.allows(figures[name])}
