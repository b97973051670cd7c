"""Follow-ups over the live service: what a model makes of them finds what they mean, over real
sockets, and a model that does not is not waited for."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.live import Live, live_service, unique
from tests.support.vendors import Script, VendorServer

DOCUMENTS = {
    "Atlas": "Atlas is a dashboard built with React. The Atlas dashboard was led by Ana Ruiz.",
    "Lumen": "Lumen is a portal for patients. It was led by Carla Diaz and opened in Bilbao.",
    "Sonar": "Sonar listens to turbines. It was led by Bo Lindqvist and costs 900 euros.",
}
ASKED = "Which portal is there for patients?"
# None of its words is in any of the documents.
FOLLOW_UP = "And whose work?"
ANSWER = Script(tokens=["Carla Diaz [1]."], usage=(100, 5))
REWRITES = Script(tokens=["Who led the", " Lumen portal?"], usage=(30, 6))
HANGS = Script(tokens=["Who led"], fault="hang", fault_after=1)


@pytest.fixture
async def vendor() -> AsyncIterator[VendorServer]:
    async with VendorServer(ANSWER) as server:
        yield server


@pytest.fixture
async def modelled(connections: dict[str, Any], vendor: VendorServer) -> AsyncIterator[Live]:
    """The service with a vendor, and little patience with rewriting."""
    async with live_service(
        **connections,
        openai_api_key="test-openai",
        openai_base_url=vendor.openai_url,
        provider={"rewrite_seconds": 0.5, "retries": 0},
    ) as service:
        yield service


async def conversation(live: Live, provider: str = "openai") -> tuple[int, dict[str, Any]]:
    """An agent with three documents, and what goes on a conversation about one of them."""
    portfolio = await live.portfolio(unique("docs"), **DOCUMENTS)
    agent = await live.agent(unique("agent"), portfolio, provider=provider, top_k=1)
    asked = await live.ask(agent, ASKED)
    return agent, {"conversation_id": asked["conversation_id"]}


def titles(events: list[Any]) -> list[str]:
    [sources] = [event["sources"] for event in events if event["type"] == "sources"]
    return [each["title"] for each in sources]


async def test_a_follow_up_finds_what_it_means(modelled: Live, vendor: VendorServer) -> None:
    agent, going_on = await conversation(modelled)
    vendor.scripts = [REWRITES]
    events = await modelled.stream(agent, FOLLOW_UP, **going_on)
    assert titles(events) == ["Lumen"]
    done = events[-1]
    assert (done["type"], done["degraded"]) == ("done", [])
    usage = done["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (130, 11)
    assert 0 < done["timings_ms"]["rewrite"] <= done["timings_ms"]["first_token"]

    _, rewriting, answering = vendor.requests
    assert (rewriting.body["temperature"], rewriting.body["max_tokens"]) == (0, 160)
    assert ASKED in rewriting.body["messages"][-1]["content"]
    said = [each["content"] for each in answering.body["messages"][1:]]
    assert said == [ASKED, "Carla Diaz [1].", FOLLOW_UP]
    stored = await modelled.json("GET", f"/api/conversations/{going_on['conversation_id']}")
    assert stored["messages"][-2]["content"] == FOLLOW_UP


async def test_the_same_words_elsewhere_find_something_else(
    modelled: Live, vendor: VendorServer
) -> None:
    agent, going_on = await conversation(modelled)
    vendor.scripts = [REWRITES]
    first = await modelled.stream(agent, FOLLOW_UP, **going_on)
    other = await modelled.ask(agent, "What listens to turbines?")
    vendor.scripts = [Script(tokens=["Who led Sonar?"])]
    elsewhere = {"conversation_id": other["conversation_id"]}
    again = await modelled.stream(agent, FOLLOW_UP, **elsewhere)
    assert (titles(first), titles(again)) == (["Lumen"], ["Sonar"])
    alone = await modelled.ask(agent, FOLLOW_UP)
    assert not again[-1]["cached"] and not alone["cached"]
    assert "rewrite" not in alone["timings_ms"]


@pytest.mark.parametrize(
    "script",
    [
        HANGS,
        Script(fault="hang", before_headers=True),
        Script(status=500),
        Script(fault="reset"),
        Script(tokens=["Who led"], fault="eof", fault_after=1),
        Script(tokens=["I cannot.", "\nSorry."]),
        Script(tokens=["Who led the"], finish_reason="length"),
        Script(tokens=["x"] * 5000),
    ],
    ids=["hangs", "says nothing", "fails", "reset", "cut off", "lines", "too long", "no end"],
)
async def test_a_rewriting_that_fails_is_harmless(
    modelled: Live, vendor: VendorServer, script: Script
) -> None:
    agent, going_on = await conversation(modelled)
    vendor.scripts = [script]
    answer = await modelled.ask(agent, FOLLOW_UP, **going_on)
    assert (answer["answer"], answer["degraded"]) == ("Carla Diaz [1].", ["rewrite"])
    assert [each["title"] for each in answer["citations"]] == ["Lumen"]  # what rules find
    # The answer came although the model never did: nobody waits for it any more.
    await vendor.requests[1].finished.wait()
    assert not (await modelled.ask(agent, FOLLOW_UP, **going_on))["cached"]


async def test_leaving_ends_the_rewriting(modelled: Live, vendor: VendorServer) -> None:
    agent, going_on = await conversation(modelled)
    vendor.scripts = [HANGS]
    body = {"message": FOLLOW_UP, **going_on}
    path = f"/api/agents/{agent}/chat/stream"
    async with modelled.http.stream("POST", path, json=body):
        rewriting = await vendor.wait_for(2)
    await rewriting.gone.wait()
    await rewriting.finished.wait()
    assert len(vendor.requests) == 2


async def test_without_a_model_the_question_before_is_searched_with_it(live: Live) -> None:
    agent, going_on = await conversation(live, "extractive")
    events = await live.stream(agent, FOLLOW_UP, **going_on)
    assert titles(events) == ["Lumen"]
    assert events[-1]["degraded"] == [] and "rewrite" not in events[-1]["timings_ms"]


async def test_switched_off_a_follow_up_is_searched_as_it_is(
    connections: dict[str, Any], vendor: VendorServer
) -> None:
    async with live_service(
        **connections,
        openai_api_key="test-openai",
        openai_base_url=vendor.openai_url,
        features={"rewrite": False},
    ) as plain:
        agent, going_on = await conversation(plain)
        answer = await plain.ask(agent, FOLLOW_UP, **going_on)
        assert "rewrite" not in answer["timings_ms"] and len(vendor.requests) == 2
