"""A request that is sent again, and runs that are over: one question, one answer, over sockets."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.chat.model import Scope
from app.stores.conversations import PgConversations
from app.stores.database import Database
from tests.support.live import Live, events, live_service, unique
from tests.support.vendors import Script, VendorServer

TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
QUESTION = "Who finished the Atlas project?"
PATHS = ("chat", "chat/stream")


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
async def database(connections: dict[str, Any]) -> AsyncIterator[Database]:
    opened = await Database.open(connections["database_url"])
    yield opened
    await opened.close()


async def make_agent(live: Live) -> int:
    portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
    return await live.agent(unique("agent"), portfolio, provider="openai")


async def ask(live: Live, agent: int, key: str, path: str = "chat", **body: Any) -> Any:
    """The answer's fields, from either path; or the error's."""
    response = await live.http.post(
        f"/api/agents/{agent}/{path}",
        json={"message": QUESTION, "cache": "off", **body},
        headers={"Idempotency-Key": key},
    )
    if path == "chat" or response.status_code != 200:
        return response.json()
    told = [each async for each in events(response)]
    text = "".join(each["content"] for each in told if each["type"] == "token")
    return {"answer": text, **told[-1]}


async def messages(live: Live, conversation_id: str) -> list[Any]:
    return list((await live.json("GET", f"/api/conversations/{conversation_id}"))["messages"])


@pytest.mark.parametrize("again", PATHS)
async def test_sent_again_it_is_the_same_run(
    modelled: Live, vendor: VendorServer, again: str
) -> None:
    agent, key = await make_agent(modelled), unique("key")
    vendor.script = Script()
    before = len(vendor.requests)
    first = await ask(modelled, agent, key)
    second = await ask(modelled, agent, key, again)
    for field in ("answer", "run_id", "conversation_id", "message_id", "citations", "usage"):
        assert second[field] == first[field], field
    assert len(vendor.requests) == before + 1
    roles = [each["role"] for each in await messages(modelled, first["conversation_id"])]
    assert roles == ["user", "assistant"]


async def test_sent_again_while_it_is_answered_both_get_the_one_answer(
    modelled: Live, vendor: VendorServer
) -> None:
    agent, key = await make_agent(modelled), unique("key")
    gate = asyncio.Event()
    vendor.script = Script(gates={1: gate})
    before = len(vendor.requests)
    asking = [asyncio.create_task(ask(modelled, agent, key, path)) for path in PATHS]
    async with vendor.arrived:
        await vendor.arrived.wait_for(lambda: len(vendor.requests) > before)
    gate.set()
    first, second = await asyncio.gather(*asking)
    assert first["answer"] == second["answer"] == "Hello, world."
    assert first["run_id"] == second["run_id"]
    assert len(vendor.requests) == before + 1


async def test_another_request_with_the_key_is_refused(
    modelled: Live, vendor: VendorServer
) -> None:
    agent, key = await make_agent(modelled), unique("key")
    vendor.script = Script()
    await ask(modelled, agent, key)
    for path in PATHS:
        refused = await ask(modelled, agent, key, path, message="Who else?")
        assert (refused["status"], refused["code"]) == (422, "idempotency_mismatch")
    other = await make_agent(modelled)
    assert (await ask(modelled, other, key))["code"] == "idempotency_mismatch"


async def test_a_key_is_its_tenants_own(modelled: Live, vendor: VendorServer) -> None:
    agent, key = await make_agent(modelled), unique("key")
    vendor.script = Script()
    first = await ask(modelled, agent, key)
    stranger = await modelled.services.credentials.create(unique("tenant"), "test")
    run = await modelled.http.get(
        f"/api/runs/{first['run_id']}/events", headers={"Authorization": f"Bearer {stranger}"}
    )
    assert run.status_code == 404


@pytest.mark.parametrize("wrong", ["", "a b", "ä", "x" * 256])
async def test_what_is_no_key(modelled: Live, wrong: str) -> None:
    agent = await make_agent(modelled)
    response = await modelled.http.post(
        f"/api/agents/{agent}/chat",
        json={"message": QUESTION},
        headers={b"Idempotency-Key": wrong.encode("latin-1")},
    )
    assert response.status_code == 422


async def test_what_failed_is_tried_again_in_the_same_place(
    modelled: Live, vendor: VendorServer
) -> None:
    agent, key = await make_agent(modelled), unique("key")
    vendor.script = Script(fault="reset", fault_after=2)
    failed = await ask(modelled, agent, key, "chat/stream")
    assert failed["type"] == "error"
    vendor.script = Script()
    answered = await ask(modelled, agent, key)
    assert answered["answer"] == "Hello, world."
    stored = await messages(modelled, answered["conversation_id"])
    assert [(each["role"], each["status"]) for each in stored] == [
        ("user", "complete"),
        ("assistant", "complete"),
    ]
    assert stored[-1]["content"] == "Hello, world."


async def test_a_run_that_is_forgotten_is_told_from_what_is_stored(
    modelled: Live, vendor: VendorServer, connections: dict[str, Any]
) -> None:
    agent = await make_agent(modelled)
    vendor.script = Script(tokens=["Ana Ruiz finished it [1]."])
    streamed = await modelled.stream(agent, QUESTION, cache="off")
    path = f"/api/runs/{streamed[0]['run_id']}/events"
    async with live_service(**{**connections, "redis_url": None}) as other:  # which never saw it
        async with other.http.stream("GET", path) as response:
            told = [each async for each in events(response)]
        gone = await other.http.get(path, headers={"Last-Event-ID": "2"})
        number = gone.text.partition("\n")[0].removeprefix("id: ")
        last = await other.http.get(path, headers={"Last-Event-ID": number})
        cancelled = await other.json("POST", path.replace("events", "cancel"))
    for each in (told[-1], streamed[-1]):
        assert each.pop("timings_ms")
    assert told == streamed
    assert '"code":"events_gone"' in gone.text
    assert last.status_code == 204  # a browser that comes again with the error's number stops
    assert cancelled == {"status": "finished"}
    unknown = await modelled.http.get(f"/api/runs/{uuid4()}/events")
    assert unknown.status_code == 404


async def test_a_dead_process_leaves_no_run_streaming_and_its_request_can_be_sent_again(
    modelled: Live, vendor: VendorServer, database: Database
) -> None:
    agent, key = await make_agent(modelled), unique("key")
    gate = asyncio.Event()
    vendor.script = Script(gates={1: gate})
    before = len(vendor.requests)
    asking = asyncio.create_task(ask(modelled, agent, key))
    async with vendor.arrived:
        await vendor.arrived.wait_for(lambda: len(vendor.requests) > before)
    [run_id] = modelled.services.engine.runs.active
    scope = await modelled.services.credentials.default_scope()
    store = PgConversations(database)
    assert (await store.find_run(scope, run_id)).status == "streaming"
    await age(database, scope, run_id)
    assert await store.interrupt_dead() == 1
    assert (await store.find_run(scope, run_id)).status == "interrupted"
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    vendor.script = Script()
    answered = await ask(modelled, agent, key)
    assert answered["answer"] == "Hello, world."
    stored = await messages(modelled, answered["conversation_id"])
    assert [each["role"] for each in stored] == ["user", "assistant"]


async def age(database: Database, scope: Scope, run_id: UUID) -> None:
    """As if its process had said nothing for half a minute."""
    async with database.transaction(scope) as connection:
        await connection.execute(
            "UPDATE runs SET alive_at = now() - interval '30 seconds' WHERE id = $1", run_id
        )
