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


@pytest.mark.parametrize("after", range(0, 6))
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


async def test_a_number_that_the_run_has_not_come_to_is_none_elsewhere_either(
    replicas: tuple[Live, Live], vendor: VendorServer
) -> None:
    one, _ = replicas
    agent = await make_agent(one)
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={3: gate})
    async with asking(one, agent) as response:
        run_id, lines = await started(response)
        for live in replicas:
            for after in (8, 900):
                await live.json("GET", f"/api/runs/{run_id}/events?after={after}", 422)
        gate.set()
        assert [line async for line in lines if '"type":"done"' in line]
    await one.services.engine.streams.ended(UUID(run_id))  # type: ignore[attr-defined]
    for live in replicas:
        assert (await live.http.get(f"/api/runs/{run_id}/events?after=900")).status_code == 204


async def test_what_was_broken_off_here_and_completed_elsewhere_is_complete_here_too(
    replicas: tuple[Live, Live], vendor: VendorServer
) -> None:
    one, other = replicas
    agent, key = await make_agent(one), {"Idempotency-Key": unique("key")}
    vendor.script = Script(tokens=TOKENS, gates={2: asyncio.Event()})
    body = {"message": QUESTION, "cache": "off"}
    path = f"/api/agents/{agent}/chat"
    async with one.http.stream("POST", f"{path}/stream", json=body, headers=key) as response:
        run_id, lines = await started(response)
        await one.json("POST", f"/api/runs/{run_id}/cancel", 202)
        assert [line async for line in lines if '"code":"interrupted"' in line]
    gate = asyncio.Event()
    vendor.script, before = Script(tokens=TOKENS, gates={2: gate}), len(vendor.requests)
    again = asyncio.create_task(other.json("POST", path, json=body, headers=key))
    async with vendor.arrived:
        await vendor.arrived.wait_for(lambda: len(vendor.requests) > before)
    here = asyncio.create_task(one.http.get(f"/api/runs/{run_id}/events"))
    gate.set()
    answer = await again
    assert answer["run_id"] == run_id
    assert b'"type":"done"' in (await here).content
    for live in replicas:
        told = await live.http.get(f"/api/runs/{run_id}/events")
        assert b'"type":"done"' in told.content
        assert (await live.json("POST", path, json=body, headers=key))["answer"] == answer["answer"]


async def test_a_run_goes_with_its_conversation_wherever_it_was_made(
    replicas: tuple[Live, Live], vendor: VendorServer
) -> None:
    one, _ = replicas
    agent = await make_agent(one)
    vendor.script = Script(tokens=TOKENS)
    body = {"message": QUESTION, "cache": "off"}
    answer = await one.json("POST", f"/api/agents/{agent}/chat", json=body)
    await one.json("GET", f"/api/conversations/{answer['conversation_id']}")
    deleted = await one.http.delete(f"/api/conversations/{answer['conversation_id']}")
    assert deleted.status_code == 204
    for live in replicas:
        await live.json("GET", f"/api/runs/{answer['run_id']}/events", 404)


async def conversations(live: Live, agent: int) -> list[str]:
    listed = await live.json("GET", "/api/conversations")
    return [each["id"] for each in listed["items"] if each["agent_id"] == agent]


@pytest.mark.parametrize("what", ["conversations", "agents"])
async def test_what_is_answered_in_a_deleted_place_is_stopped_and_not_said_to_be_done(
    replicas: tuple[Live, Live], vendor: VendorServer, what: str
) -> None:
    one, other = replicas
    agent = await make_agent(one)
    vendor.script = Script(tokens=TOKENS, gates={2: asyncio.Event()})
    before = len(vendor.requests)
    async with asking(one, agent) as response:
        _, lines = await started(response)
        async with vendor.arrived:
            await vendor.arrived.wait_for(lambda: len(vendor.requests) > before)
        await until(lambda: conversations(one, agent))
        [conversation] = await conversations(one, agent)
        gone = {"conversations": conversation, "agents": agent}[what]
        assert (await other.http.delete(f"/api/{what}/{gone}")).status_code == 204
        rest = [line async for line in lines if line.startswith("data:")]
    assert '"type":"error"' in rest[-1]
    await asyncio.wait_for(vendor.requests[-1].gone.wait(), 5)


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
