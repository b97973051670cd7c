"""What goes wrong with a provider, a client or Redis, over real sockets, seen from outside."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.embedded.home import open_home
from app.embedded.valkey import Valkey
from tests.support.live import Live, events, live_service, unique
from tests.support.vendors import Script, VendorServer

TEXT = "Atlas is a dashboard built with React. It was finished in 2021 by Ana Ruiz."
QUESTION = "Who finished the Atlas dashboard?"
VENDORS = ["openai", "mistral"]


@pytest.fixture(scope="module")
async def vendor() -> AsyncIterator[VendorServer]:
    async with VendorServer() as server:
        yield server


@pytest.fixture(scope="module")
async def modelled(connections: dict[str, Any], vendor: VendorServer) -> AsyncIterator[Live]:
    """The service with both vendors configured, and two database connections in all."""
    async with live_service(
        **connections,
        openai_api_key="test-openai",
        openai_base_url=vendor.openai_url,
        mistral_api_key="test-mistral",
        mistral_server_url=vendor.mistral_url,
        database={"pool_size": 2},
        # One fault after the other comes from the same vendor; the breaker is tested elsewhere.
        provider={"breaker_failures": 1000},
    ) as service:
        yield service


async def make_agent(live: Live, provider: str) -> int:
    portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
    return await live.agent(unique("agent"), portfolio, provider=provider)


async def last_message(live: Live, conversation_id: str) -> Any:
    stored = await live.json("GET", f"/api/conversations/{conversation_id}")
    return stored["messages"][-1]


@pytest.mark.parametrize("provider", VENDORS)
async def test_a_models_answer_streams_with_checked_citations(
    modelled: Live, vendor: VendorServer, provider: str
) -> None:
    agent = await make_agent(modelled, provider)
    vendor.script = Script(tokens=["Ana Ruiz finished it", " [", "1]", ", not Bo [9]", "."])
    streamed = await modelled.stream(agent, QUESTION)
    text = "".join(each["content"] for each in streamed if each["type"] == "token")
    assert text == "Ana Ruiz finished it [1], not Bo."
    done = streamed[-1]
    assert [each["quote"] for each in done["citations"]] == ["It was finished in 2021 by Ana Ruiz."]
    assert done["usage"]["completion_tokens"] == 3
    sent = vendor.requests[-1].body
    assert sent["messages"][-1] == {"role": "user", "content": QUESTION}
    assert TEXT in sent["messages"][0]["content"]


@pytest.mark.parametrize("provider", VENDORS)
async def test_history_reaches_the_model(
    modelled: Live, vendor: VendorServer, provider: str
) -> None:
    agent = await make_agent(modelled, provider)
    vendor.script = Script(tokens=["First."])
    first = await modelled.ask(agent, QUESTION)
    vendor.script = Script(tokens=["Second."])
    await modelled.ask(agent, "And who else?", conversation_id=first["conversation_id"])
    roles = [(each["role"], each["content"]) for each in vendor.requests[-1].body["messages"][1:]]
    assert roles == [("user", QUESTION), ("assistant", "First."), ("user", "And who else?")]


BEFORE = {
    "rejected": (Script(status=401), 502, "provider_rejected"),
    "failing": (Script(status=500), 502, "provider_unavailable"),
    "limited": (Script(status=429), 503, "provider_rate_limited"),
}
WITHIN = {
    "first-token-reset": Script(tokens=["a", "b"], fault="reset", fault_after=0),
    "reset": Script(tokens=["Ana", " Ruiz"], fault="reset", fault_after=1),
    "ends": Script(tokens=["Ana", " Ruiz"], fault="eof", fault_after=1),
    "error-object": Script(tokens=["Ana", " Ruiz"], fault="error", fault_after=1),
}


@pytest.mark.parametrize("provider", VENDORS)
@pytest.mark.parametrize("fault", BEFORE)
async def test_before_the_first_token_both_paths_say_what_failed(
    modelled: Live, vendor: VendorServer, provider: str, fault: str
) -> None:
    script, status, code = BEFORE[fault]
    agent = await make_agent(modelled, provider)
    vendor.script = script
    body = {"message": QUESTION}
    whole = await modelled.json("POST", f"/api/agents/{agent}/chat", status, json=body)
    assert whole["code"] == code
    streamed = await modelled.stream(agent, QUESTION)
    assert streamed[-1]["type"] == "error"
    assert streamed[-1]["code"] == code
    assert [each["type"] for each in streamed].count("error") == 1


@pytest.mark.parametrize("provider", VENDORS)
@pytest.mark.parametrize("fault", WITHIN)
async def test_a_cut_answer_never_looks_finished(
    modelled: Live, vendor: VendorServer, provider: str, fault: str
) -> None:
    agent = await make_agent(modelled, provider)
    vendor.script = WITHIN[fault]
    streamed = await modelled.stream(agent, QUESTION)
    kinds = [each["type"] for each in streamed]
    assert (kinds.count("done"), kinds.count("error"), kinds[-1]) == (0, 1, "error")
    stored = await last_message(modelled, streamed[0]["conversation_id"])
    assert stored["status"] == "error"
    assert stored["content"] == "".join(e["content"] for e in streamed if e["type"] == "token")
    vendor.script = Script(tokens=["Ana Ruiz [1]."])
    again = await modelled.ask(agent, QUESTION)
    assert not again["cached"]


@pytest.mark.parametrize("provider", VENDORS)
@pytest.mark.parametrize("path", ["chat/stream", "chat"])
async def test_leaving_closes_the_call_and_keeps_the_partial_answer(
    modelled: Live, vendor: VendorServer, provider: str, path: str
) -> None:
    agent = await make_agent(modelled, provider)
    gate = asyncio.Event()
    vendor.script = Script(tokens=["Ana", " Ruiz"], gates={1: gate})
    count = len(vendor.requests)
    request = modelled.http.stream(
        "POST", f"/api/agents/{agent}/{path}", json={"message": QUESTION}
    )
    if path == "chat":
        asking = asyncio.create_task(modelled.ask(agent, QUESTION))
        call = await vendor.wait_for(count + 1)
        asking.cancel()
    else:
        async with request as response:
            async for event in events(response):
                if event["type"] == "token":
                    break
        call = await vendor.wait_for(count + 1)
    async with asyncio.timeout(5):
        await call.gone.wait()
    listed = await modelled.json("GET", "/api/conversations", params={"limit": 1})
    stored = await wait_for_answer(modelled, listed["items"][0]["id"])
    assert stored["status"] == "interrupted"


async def wait_for_answer(live: Live, conversation_id: str) -> Any:
    async with asyncio.timeout(5):
        while True:
            message = await last_message(live, conversation_id)
            if message["role"] == "assistant":
                return message


async def test_cancel_stops_a_run_and_says_so_to_its_readers(
    modelled: Live, vendor: VendorServer
) -> None:
    agent = await make_agent(modelled, "openai")
    vendor.script = Script(tokens=["Ana", " Ruiz"], gates={1: asyncio.Event()})
    path = f"/api/agents/{agent}/chat/stream"
    seen = []
    async with modelled.http.stream("POST", path, json={"message": QUESTION}) as response:
        async for event in events(response):
            seen.append(event)
            if event["type"] == "token":
                await modelled.json("POST", f"/api/runs/{seen[0]['run_id']}/cancel", 202)
    assert seen[-1]["type"] == "error"
    assert seen[-1]["code"] == "interrupted"


async def test_no_stream_holds_a_database_connection(modelled: Live, vendor: VendorServer) -> None:
    agent = await make_agent(modelled, "openai")
    gate = asyncio.Event()
    count = len(vendor.requests)
    vendor.script = Script(tokens=["Ana", " Ruiz"], gates={1: gate})
    open_streams = [
        asyncio.create_task(modelled.stream(agent, f"{QUESTION} {number}?")) for number in range(8)
    ]
    await vendor.wait_for(count + 8)
    async with asyncio.timeout(5):  # with a pool of two, eight held connections would hang it
        await modelled.json("GET", "/api/portfolios")
        await modelled.json("POST", "/api/retrieve", 404, json={"query": "x", "portfolio_id": 999})
    gate.set()
    for streamed in await asyncio.gather(*open_streams):
        assert streamed[-1]["type"] == "done"


async def test_without_redis_the_answer_is_still_given(
    connections: dict[str, Any], server_folder: Path
) -> None:
    folder = server_folder / "lonely-valkey"
    folder.mkdir(mode=0o711)
    valkey = Valkey(open_home(folder), folder)
    await valkey.start()
    try:
        async with live_service(**{**connections, "redis_url": valkey.url}) as live:
            portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
            agent = await live.agent(unique("agent"), portfolio, provider="extractive")
            await live.ask(agent, QUESTION)
            assert (await live.ask(agent, QUESTION))["cached"]
            valkey.stop()
            for mode in ("refresh", "use", "use"):  # the first takes it out of the memory, too
                answer = await live.ask(agent, QUESTION, cache=mode)
                assert not answer["cached"]
                assert "Ana Ruiz" in answer["answer"]
            assert (await live.http.get("/readyz")).status_code == 200
            assert (await live.json("DELETE", "/api/admin/cache"))["invalidated"] == 0
            await valkey.start()
            async with asyncio.timeout(10):
                while not (await live.ask(agent, QUESTION))["cached"]:
                    pass
    finally:
        valkey.stop()


SWITCHES: list[tuple[dict[str, bool], str]] = [
    ({"streaming": False}, "streaming"),
    ({"answer_cache": False}, "cache"),
    ({"dynamic_context": False}, "limits"),
    ({"vector": False}, "vector"),
    ({"keyword": False}, "keyword"),
    ({"graph": False}, "graph"),
]


@pytest.mark.parametrize(("features", "shows"), SWITCHES, ids=lambda value: str(value))
async def test_each_switch_does_what_it_says(
    connections: dict[str, Any], features: dict[str, bool], shows: str
) -> None:
    async with live_service(**connections, features=features) as live:
        portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
        agent = await live.agent(
            unique("agent"), portfolio, provider="extractive", top_k=4, max_tokens=700
        )
        first, second = await live.ask(agent, QUESTION), await live.ask(agent, QUESTION)
        assert second["cached"] is (shows != "cache")
        expected = (4, 700) if shows == "limits" else (3, 700)
        assert (first["top_k"], first["max_tokens"]) == expected
        stream = await live.http.post(
            f"/api/agents/{agent}/chat/stream", json={"message": QUESTION}
        )
        assert stream.status_code == (403 if shows == "streaming" else 200)
        found = await live.json(
            "POST", "/api/retrieve", json={"query": QUESTION, "portfolio_id": portfolio}
        )
        sources = {name for each in found["passages"] for name in each["sources"]}
        assert sources == {"vector", "keyword", "graph"} - {shows}
