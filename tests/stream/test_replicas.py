"""Two processes' worth of services on one database and one Redis: a run of the one, read by way of
the other."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2
import pytest
from redis.asyncio import Redis

from app.stores.run_streams import RedisRunStreams
from tests.support.live import Live, events, live_service, unique
from tests.support.vendors import Script, VendorServer
from tests.support.waiting import until

TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
QUESTION = "Who finished the Atlas project?"
TOKENS = ["Ana", " Ruiz", " finished", " it", " [1]", "."]


@pytest.fixture(scope="module")
async def vendor() -> AsyncIterator[VendorServer]:
    async with VendorServer() as server:
        yield server


@pytest.fixture(scope="module")
async def replicas(
    connections: dict[str, Any], vendor: VendorServer
) -> AsyncIterator[tuple[Live, Live]]:
    settings = {"openai_api_key": "test", "openai_base_url": vendor.openai_url}
    async with (
        live_service(**connections, **settings) as one,
        live_service(**connections, **settings) as other,
    ):
        yield one, other


async def make_agent(live: Live) -> int:
    portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
    return await live.agent(unique("agent"), portfolio, provider="openai")


def asking(live: Live, agent: int, **body: Any) -> Any:
    body = {"message": QUESTION, "cache": "off", **body}
    return live.http.stream("POST", f"/api/agents/{agent}/chat/stream", json=body)


async def started(response: httpx2.Response) -> tuple[str, AsyncIterator[str]]:
    """The run's id, and the response's further lines."""
    lines = response.aiter_lines()
    async for line in lines:
        if line.startswith("data:"):
            return httpx2.Response(200, content=line[5:]).json()["run_id"], lines
    raise AssertionError("no event")


@pytest.mark.parametrize("after", range(0, 9))
async def test_attaching_elsewhere_gives_the_same_bytes(
    replicas: tuple[Live, Live], vendor: VendorServer, after: int
) -> None:
    one, other = replicas
    agent = await make_agent(one)
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={3: gate})
    before = len(vendor.requests)
    async with asking(one, agent) as response:
        whole = asyncio.create_task(response.aread())
        async with vendor.arrived:
            await vendor.arrived.wait_for(lambda: len(vendor.requests) > before)
        [run_id] = one.services.engine.runs.active
        path = f"/api/runs/{run_id}/events"
        headers = {"Last-Event-ID": str(after)} if after else {}
        async with other.http.stream("GET", path, headers=headers) as attached:
            gate.set()
            told = await attached.aread()
        frames = (await whole).split(b"\n\n")
    assert told == b"\n\n".join(frames[after:])


async def test_a_reader_elsewhere_keeps_a_run_alive(
    replicas: tuple[Live, Live], vendor: VendorServer
) -> None:
    one, other = replicas
    agent = await make_agent(one)
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={2: gate})
    async with asking(one, agent, grace_seconds=1) as response:
        run_id, _ = await started(response)
        reading = other.http.stream("GET", f"/api/runs/{run_id}/events")
        attached = await reading.__aenter__()
        _, lines = await started(attached)
    assert UUID(run_id) in one.services.engine.runs.active
    gate.set()
    rest = [line async for line in lines if line.startswith("data:")]
    await reading.__aexit__(None, None, None)
    assert '"type":"done"' in rest[-1]


async def test_cancelling_elsewhere_stops_it(
    replicas: tuple[Live, Live], vendor: VendorServer
) -> None:
    one, other = replicas
    agent = await make_agent(one)
    vendor.script, before = Script(tokens=TOKENS, gates={2: asyncio.Event()}), len(vendor.requests)
    async with asking(one, agent) as response:
        run_id, lines = await started(response)
        async with vendor.arrived:
            await vendor.arrived.wait_for(lambda: len(vendor.requests) > before)
        await other.json("POST", f"/api/runs/{run_id}/cancel", 202)
        rest = [line async for line in lines if line.startswith("data:")]
    assert '"code":"interrupted"' in rest[-1]
    await asyncio.wait_for(vendor.requests[-1].gone.wait(), 5)


async def test_a_request_sent_again_to_the_other_gets_the_one_answer(
    replicas: tuple[Live, Live], vendor: VendorServer
) -> None:
    one, other = replicas
    agent, key = await make_agent(one), unique("key")
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={2: gate})
    before = len(vendor.requests)

    async def ask(live: Live) -> Any:
        body = {"message": QUESTION, "cache": "off"}
        return await live.json(
            "POST", f"/api/agents/{agent}/chat", json=body, headers={"Idempotency-Key": key}
        )

    first = asyncio.create_task(ask(one))
    async with vendor.arrived:
        await vendor.arrived.wait_for(lambda: len(vendor.requests) > before)
    second = asyncio.create_task(ask(other))
    gate.set()
    answers = await asyncio.gather(first, second)
    assert answers[0]["run_id"] == answers[1]["run_id"]
    assert answers[0]["answer"] == answers[1]["answer"] == "Ana Ruiz finished it [1]."
    assert len(vendor.requests) == before + 1


async def test_where_no_redis_is_it_says_so(
    connections: dict[str, Any], vendor: VendorServer, replicas: tuple[Live, Live]
) -> None:
    one, _ = replicas
    agent = await make_agent(one)
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={2: gate})
    alone_settings = {**connections, "redis_url": None}
    async with live_service(**alone_settings) as alone, asking(one, agent) as response:
        run_id, _ = await started(response)
        async with alone.http.stream("GET", f"/api/runs/{run_id}/events") as attached:
            told = [each async for each in events(attached)]
        gate.set()
    assert [(each["type"], each["code"]) for each in told] == [("error", "unavailable")]


async def test_a_piece_that_redis_lost_is_an_error_and_no_gap(
    connections: dict[str, Any], vendor: VendorServer, replicas: tuple[Live, Live]
) -> None:
    one, other = replicas
    agent = await make_agent(one)
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={2: gate})
    async with asking(one, agent) as response:
        run_id, own = await started(response)
        path = f"/api/runs/{run_id}/events"
        async with other.http.stream("GET", path) as attached:
            begun, lines = await started(attached)  # so it is passed on by now
            assert begun == run_id
            async with Redis.from_url(connections["redis_url"]) as redis:
                [key] = [each async for each in redis.scan_iter(match=f"run:*{run_id}")]
                await redis.delete(key)
            gate.set()
            rest = [line async for line in lines if line.startswith("data:")]
        assert [line async for line in own]
        again = (await other.http.get(path)).text
    assert '"type":"done"' in rest[-1]  # who had the piece goes on
    assert again.count("data:") == 1
    assert '"type":"error","code":"events_gone"' in again


@pytest.mark.parametrize("after", [0, 1, 5, 7])
async def test_for_ten_minutes_it_can_be_read_elsewhere_as_it_was(
    replicas: tuple[Live, Live], vendor: VendorServer, after: int
) -> None:
    one, other = replicas
    agent = await make_agent(one)
    vendor.script = Script(tokens=TOKENS)
    async with asking(one, agent) as response:
        whole = await response.aread()
    run_id = whole.split(b'"run_id":"')[1][:36].decode()
    path = f"/api/runs/{run_id}/events"
    here = await one.http.get(path, headers={"Last-Event-ID": str(after)})
    assert await passed_on(other, run_id)
    there = await other.http.get(path, headers={"Last-Event-ID": str(after)})
    assert there.content == here.content == b"\n\n".join(whole.split(b"\n\n")[after:])
    nothing = await other.http.get(path, headers={"Last-Event-ID": "8"})
    assert nothing.status_code == 204
    assert (await other.json("POST", f"/api/runs/{run_id}/cancel")) == {"status": "finished"}


async def passed_on(live: Live, run_id: str) -> bool:
    """Wait until the end of a run has come to the other process."""
    scope = await live.services.credentials.default_scope()
    async with asyncio.timeout(5):
        async for _ in live.services.engine.streams.follow(scope, UUID(run_id), 0):
            pass
    return True


async def test_while_redis_is_away_answers_stream_and_runs_do_not_pile_up(
    connections: dict[str, Any], vendor: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.stores.run_outbox.PATIENCE_SECONDS", 0.5)
    vendor.script = Script(tokens=TOKENS)
    settings = {"openai_api_key": "test", "openai_base_url": vendor.openai_url}
    with socket.create_server(("127.0.0.1", 0)) as hole:  # accepts, and never answers
        url = f"redis://127.0.0.1:{hole.getsockname()[1]}/0"
        async with live_service(**{**connections, **settings, "redis_url": url}) as live:
            agent = await make_agent(live)
            for _ in range(3):
                told = await live.stream(agent, QUESTION, cache="off")
                assert told[-1]["type"] == "done"
            streams = live.services.engine.streams
            assert isinstance(streams, RedisRunStreams)
            await until(lambda: not streams.waiting)
