"""The same question at once is paid once, over sockets; nobody is hurt by whom he shares with."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest

from app.chat.flights import heir_id
from tests.support.live import Live, events, live_service, unique
from tests.support.vendors import Script, VendorServer
from tests.support.waiting import until

TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
QUESTION = "Who finished the Atlas project?"
TOKENS = ["Ana", " Ruiz", " finished", " it", " [1]", "."]
ANSWER = "Ana Ruiz finished it [1]."


@pytest.fixture(scope="module")
async def vendor() -> AsyncIterator[VendorServer]:
    async with VendorServer() as server:
        yield server


@pytest.fixture(scope="module")
async def modelled(connections: dict[str, Any], vendor: VendorServer) -> AsyncIterator[Live]:
    async with live_service(
        **connections, openai_api_key="test", openai_base_url=vendor.openai_url
    ) as service:
        yield service


@pytest.fixture(scope="module")
async def replica(connections: dict[str, Any], vendor: VendorServer) -> AsyncIterator[Live]:
    """Another process's worth of the service, on the same database and Redis."""
    async with live_service(
        **connections, openai_api_key="test", openai_base_url=vendor.openai_url
    ) as service:
        yield service


async def make_agent(live: Live) -> int:
    portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
    return await live.agent(unique("agent"), portfolio, provider="openai")


async def arrival(vendor: VendorServer, before: int) -> None:
    async with vendor.arrived:
        await vendor.arrived.wait_for(lambda: len(vendor.requests) > before)


async def begun(
    live: Live, agent: int, stack: AsyncExitStack, **options: Any
) -> AsyncGenerator[Any, None]:
    """The events of a new stream behind its first token, so that it has joined who produces it."""
    path = f"/api/agents/{agent}/chat/stream"
    response = await stack.enter_async_context(
        live.http.stream("POST", path, json={"message": QUESTION, **options})
    )
    told = events(response)
    async for event in told:
        if event["type"] == "token":
            return told
    raise AssertionError("no token")


async def running(live: Live, count: int) -> None:
    """Wait until so many runs go on."""
    await until(lambda: len(live.services.engine.runs.active) >= count)


async def test_many_at_once_are_one_call_and_each_has_a_turn_of_his_own(
    modelled: Live, vendor: VendorServer
) -> None:
    agent = await make_agent(modelled)
    gate = asyncio.Event()
    vendor.script, before = Script(tokens=TOKENS, gates={2: gate}), len(vendor.requests)
    streams = [asyncio.create_task(modelled.stream(agent, QUESTION)) for _ in range(20)]
    wholes = [asyncio.create_task(modelled.ask(agent, QUESTION)) for _ in range(20)]
    await arrival(vendor, before)
    await running(modelled, 40)
    gate.set()
    told, answers = await asyncio.gather(*streams), await asyncio.gather(*wholes)
    assert len(vendor.requests) == before + 1
    for each in told:
        assert "".join(e["content"] for e in each if e["type"] == "token") == ANSWER
        assert [e["type"] for e in each if e["type"] != "token"] == ["start", "sources", "done"]
        assert each[-1]["citations"] == answers[0]["citations"] != []
    done = [*(each[-1] for each in told), *answers]
    assert len({each["conversation_id"] for each in done}) == 40
    for each in (done[0], done[-1]):
        path = f"/api/conversations/{each['conversation_id']}"
        stored = (await modelled.json("GET", path))["messages"]
        assert [message["content"] for message in stored] == [QUESTION, ANSWER]
    assert (await modelled.ask(agent, QUESTION))["cached"]


async def test_the_first_one_leaving_hurts_nobody(modelled: Live, vendor: VendorServer) -> None:
    agent = await make_agent(modelled)
    gate = asyncio.Event()
    vendor.script, before = Script(tokens=TOKENS, gates={2: gate}), len(vendor.requests)
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as leaving:
            first = await begun(modelled, agent, leaving)
            second = await begun(modelled, agent, stack)
            await first.aclose()
        gate.set()
        told = [event async for event in second]
    assert told[-1]["type"] == "done"
    assert len(vendor.requests) == before + 1


async def test_a_failure_is_everybodys(modelled: Live, vendor: VendorServer) -> None:
    agent = await make_agent(modelled)
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={2: gate}, fault="reset", fault_after=3)
    before = len(vendor.requests)
    async with AsyncExitStack() as stack:
        asking = [await begun(modelled, agent, stack) for _ in range(3)]
        gate.set()
        for each in asking:
            told = [event async for event in each]
            assert (told[-1]["type"], told[-1]["code"]) == ("error", "provider_truncated")
    assert len(vendor.requests) == before + 1


async def test_where_the_first_is_cancelled_before_its_first_token_it_is_one_call_for_the_others(
    modelled: Live, vendor: VendorServer
) -> None:
    agent, before = await make_agent(modelled), len(vendor.requests)
    gate = asyncio.Event()
    vendor.script = Script(tokens=TOKENS, gates={0: gate})
    path = f"/api/agents/{agent}/chat/stream"
    async with modelled.http.stream("POST", path, json={"message": QUESTION}) as response:
        telling = events(response)
        run_id = (await anext(telling))["run_id"]
        await arrival(vendor, before)
        others = [asyncio.create_task(modelled.stream(agent, QUESTION)) for _ in range(3)]
        scope = await modelled.services.credentials.default_scope()
        first = modelled.services.engine.runs.shared(scope.tenant_id, UUID(run_id))
        assert first is not None
        await until(lambda: first._sharing == 3)
        await modelled.json("POST", f"/api/runs/{run_id}/cancel", 202)
        last = [each async for each in telling][-1]
        gate.set()
    assert last["code"] == "interrupted"
    for told in await asyncio.gather(*others):
        assert [each["type"] for each in told if each["type"] != "token"] == [
            *("start", "sources", "done")
        ]
        assert "".join(each["content"] for each in told if each["type"] == "token") == ANSWER
    assert len(vendor.requests) == before + 1


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "on another process"])
async def test_where_the_first_is_cancelled_later_it_goes_on_for_the_others(
    modelled: Live, replica: Live, vendor: VendorServer, elsewhere: bool
) -> None:
    agent = await make_agent(modelled)
    gate = asyncio.Event()
    vendor.script, before = Script(tokens=TOKENS, gates={2: gate}), len(vendor.requests)
    others = replica if elsewhere else modelled
    async with AsyncExitStack() as stack:
        first = await begun(modelled, agent, stack)
        [run_id] = modelled.services.engine.runs.active
        sharing = [await begun(others, agent, stack) for _ in range(2)]
        whole = asyncio.create_task(others.ask(agent, QUESTION))
        await running(others, 3 if elsewhere else 4)
        await modelled.json("POST", f"/api/runs/{run_id}/cancel", 202)
        last = [event async for event in first][-1]
        assert (last["type"], last["code"]) == ("error", "interrupted")
        # What goes on is the others'.
        await modelled.json("POST", f"/api/runs/{heir_id(run_id)}/cancel", 404)
        gate.set()
        told = [[event async for event in each] for each in sharing]
    for each in told:
        assert each[-1]["type"] == "done", each[-1]
        said = "".join(event["content"] for event in each if event["type"] == "token")
        assert ANSWER.endswith(said)
        assert said
    answer = await whole
    assert (answer["answer"], answer["citations"]) == (ANSWER, told[0][-1]["citations"])
    assert len(vendor.requests) == before + 1
    counted = modelled.services.engine.monitor.tokens.tokens()
    spent = {kind: count for (name, _, kind), count in counted.items() if name == str(agent)}
    assert spent == {"prompt": 12, "completion": 3}  # once, whoever has which part
    assert (await modelled.ask(agent, QUESTION))["cached"]
    turn = await modelled.json("GET", f"/api/conversations/{answer['conversation_id']}")
    assert turn["messages"][-1]["content"] == ANSWER


async def test_where_all_who_share_it_leave_as_well_the_call_is_closed(
    modelled: Live, vendor: VendorServer
) -> None:
    agent = await make_agent(modelled)
    vendor.script, before = Script(tokens=TOKENS, gates={2: asyncio.Event()}), len(vendor.requests)
    async with AsyncExitStack() as stack, AsyncExitStack() as leaving:
        first = await begun(modelled, agent, stack)
        [run_id] = modelled.services.engine.runs.active
        await begun(modelled, agent, leaving)
        await modelled.json("POST", f"/api/runs/{run_id}/cancel", 202)
        assert [event async for event in first][-1]["code"] == "interrupted"
        assert not vendor.requests[before].gone.is_set()
    async with asyncio.timeout(10):
        await vendor.requests[before].gone.wait()
        while modelled.services.engine.runs.active:  # noqa: ASYNC110 — nobody tells
            await asyncio.sleep(0)


@pytest.mark.parametrize("cache", ["refresh", "off"])
async def test_who_wants_a_fresh_answer_gets_one(
    modelled: Live, vendor: VendorServer, cache: str
) -> None:
    agent = await make_agent(modelled)
    gate = asyncio.Event()
    vendor.script, before = Script(tokens=TOKENS, gates={2: gate}), len(vendor.requests)
    first = asyncio.create_task(modelled.stream(agent, QUESTION))
    await arrival(vendor, before)
    second = asyncio.create_task(modelled.stream(agent, QUESTION, cache=cache))
    await arrival(vendor, before + 1)
    gate.set()
    await asyncio.gather(first, second)
    assert len(vendor.requests) == before + 2


async def test_over_processes_it_is_one_call_too(
    modelled: Live, replica: Live, vendor: VendorServer
) -> None:
    agent = await make_agent(modelled)
    gate = asyncio.Event()
    vendor.script, before = Script(tokens=TOKENS, gates={2: gate}), len(vendor.requests)
    async with AsyncExitStack() as stack:
        asking = [await begun(live, agent, stack) for live in (modelled, replica, replica)]
        whole = [asyncio.create_task(live.ask(agent, QUESTION)) for live in (modelled, replica)]
        await running(replica, 3)
        gate.set()
        told = [[event async for event in each] for each in asking]
        answers = await asyncio.gather(*whole)
    assert len(vendor.requests) == before + 1
    for each in told:
        assert each[-1]["type"] == "done"
        assert each[-1]["citations"] == answers[0]["citations"] == answers[1]["citations"] != []
    assert {each["answer"] for each in answers} == {ANSWER}
    path = f"/api/conversations/{answers[1]['conversation_id']}"
    stored = (await modelled.json("GET", path))["messages"]
    assert [message["content"] for message in stored] == [QUESTION, ANSWER]


async def test_the_first_one_of_another_process_leaving_hurts_nobody(
    modelled: Live, replica: Live, vendor: VendorServer
) -> None:
    agent = await make_agent(modelled)
    gate = asyncio.Event()
    vendor.script, before = Script(tokens=TOKENS, gates={2: gate}), len(vendor.requests)
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as leaving:
            first = await begun(modelled, agent, leaving, grace_seconds=1)
            second = await begun(replica, agent, stack)
            await first.aclose()
        gate.set()
        told = [event async for event in second]
    assert told[-1]["type"] == "done"
    assert len(vendor.requests) == before + 1
