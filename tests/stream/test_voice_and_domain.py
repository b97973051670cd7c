"""An agent's own voice, and questions answered beforehand, through the running service."""

from typing import Any

from tests.support.live import Live, unique

FAQ = """\
Q: How long does a refund take?
Refunds arrive within five working days.

Q: Can I change the delivery address?
Yes, until the parcel leaves the warehouse.
"""
GUIDE = (
    "Refund handling. This guide explains to our staff how refund requests are checked, who signs "
    "a refund and how long the finance team takes to file a refund, with all of its steps. "
) * 3
ME = "My name is Ada. I am the assistant of the Harbor team and I love tide tables."


def found_by(passages: list[dict[str, Any]], source: str) -> list[str]:
    return [each["text"] for each in passages if source in each["sources"]]


async def test_a_pair_comes_before_longer_documents(live: Live) -> None:
    portfolio = await live.portfolio(unique("faq"), Guide=GUIDE)
    faq = {"title": "FAQ", "text": FAQ, "uri": "faq", "metadata": {"kind": "faq"}}
    path = f"/api/portfolios/{portfolio}/documents?wait=true"
    await live.json("POST", path, json={"documents": [faq]})
    body = {"query": "How long does it take to get a refund?", "portfolio_id": portfolio}
    found = await live.json("POST", "/api/retrieve", json=body)
    first = found["passages"][0]
    assert "within five working days." in first["text"]
    assert first["sources"]["domain"] == 1
    assert found["timings_ms"].keys() >= {"vector", "keyword", "domain", "persona"}
    other = {"query": "What is the capital of France?", "portfolio_id": portfolio}
    found = await live.json("POST", "/api/retrieve", json=other)
    assert found_by(found["passages"], "domain") == []


async def test_pairs_obey_filters_and_the_tenant(live: Live) -> None:
    portfolio = await live.portfolio(unique("faq"))
    path = f"/api/portfolios/{portfolio}/documents?wait=true"
    documents = [
        {
            "title": f"FAQ {team}",
            "text": f"Q: When is lunch?\nAt {hour}.\n\nQ: Where?\nHere, in {team}.",
            "uri": team,
            "metadata": {"kind": "faq", "team": team},
        }
        for team, hour in (("sales", "noon"), ("legal", "one"))
    ]
    await live.json("POST", path, json={"documents": documents})
    body: dict[str, Any] = {"query": "When is lunch?", "portfolio_id": portfolio}
    body |= {"filters": {"team": "legal"}, "sources": ["domain"]}
    found = await live.json("POST", "/api/retrieve", json=body)
    texts = found_by(found["passages"], "domain")
    assert texts and all("At one" in text or "legal" in text for text in texts)


async def test_an_agent_answers_about_itself(live: Live) -> None:
    voice = await live.portfolio(unique("voice"), Me=ME)
    documents = await live.portfolio(unique("docs"), Guide=GUIDE)
    for portfolio in (documents, None):
        agent = await live.agent(unique("ada"), portfolio, persona_portfolio_id=voice)
        shown = await live.json("GET", f"/api/agents/{agent}")
        assert shown["persona_portfolio_id"] == voice
        answer = await live.ask(agent, "What is your name?")
        assert "Ada" in answer["answer"]
        assert answer["citations"][0]["title"] == "Me"


async def test_a_changed_voice_is_never_stale(live: Live) -> None:
    voice = await live.portfolio(unique("voice"), Me=ME)
    documents = await live.portfolio(unique("docs"), Guide=GUIDE)
    agent = await live.agent(unique("ada"), documents, persona_portfolio_id=voice)
    question = "What is your name?"
    assert "Ada" in (await live.ask(agent, question))["answer"]
    assert (await live.ask(agent, question))["cached"]
    await live.add(voice, Me=ME.replace("Ada", "Grace"))
    fresh = await live.ask(agent, question)
    assert not fresh["cached"]
    assert "Grace" in fresh["answer"]


async def test_a_voice_that_does_not_exist_is_not_found(live: Live) -> None:
    body = {"name": unique("ada"), "persona_portfolio_id": 10**9}
    await live.json("POST", "/api/agents", 404, json=body)


async def test_a_deleted_voice_leaves_the_agent_running(live: Live) -> None:
    voice = await live.portfolio(unique("voice"), Me=ME)
    agent = await live.agent(unique("ada"), None, persona_portfolio_id=voice)
    await live.json("DELETE", f"/api/portfolios/{voice}", 204)
    assert (await live.json("GET", f"/api/agents/{agent}"))["persona_portfolio_id"] is None
    assert (await live.ask(agent, "What is your name?"))["finish_reason"] == "stop"
