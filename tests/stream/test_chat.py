"""Both endpoints over real sockets, on real Postgres, Valkey and encoder."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from tests.support.live import Live, events, unique

ATLAS = """# Atlas

Atlas is a dashboard built with React and TypeScript. It was finished in 2021 by Ana Ruiz.

It shows the deliveries of forty warehouses and loads in 1.2 seconds."""

HARBOR = """# Harbor

Harbor is a Python service that plans ship berths. Its planner saves 14 percent of fuel."""

QUESTION = "Who finished the Atlas dashboard?"


@pytest.fixture
async def agent(live: Live) -> int:
    portfolio = await live.portfolio(unique("docs"), Atlas=ATLAS, Harbor=HARBOR)
    return await live.agent(unique("agent"), portfolio, provider="extractive")


async def test_the_sync_path_answers_with_verifiable_citations(live: Live, agent: int) -> None:
    answer = await live.ask(agent, QUESTION)
    assert "Ana Ruiz" in answer["answer"]
    assert set(answer) == {
        "answer", "citations", "cached", "run_id", "conversation_id", "message_id", "complexity",
        "top_k", "max_tokens", "language", "usage", "timings_ms", "degraded", "finish_reason",
    }  # fmt: skip
    assert answer["citations"]
    for citation in answer["citations"]:
        assert set(citation) == {
            "number", "document_id", "chunk_id", "title", "uri", "quote", "start", "end", "score",
        }  # fmt: skip
        document = await live.json("GET", f"/api/documents/{citation['document_id']}")
        assert document["text"][citation["start"] : citation["end"]] == citation["quote"]
        assert f"[{citation['number']}]" in answer["answer"]


async def test_the_stream_says_the_same_as_the_sync_path(live: Live, agent: int) -> None:
    streamed = await live.stream(agent, QUESTION, cache="off")
    whole = await live.ask(agent, QUESTION, cache="off")
    assert [each["type"] for each in streamed[:2]] == ["start", "sources"]
    assert [each["type"] for each in streamed].count("done") == 1
    done = streamed[-1]
    assert "".join(e["content"] for e in streamed if e["type"] == "token") == whole["answer"]
    volatile = {"run_id", "conversation_id", "message_id", "timings_ms"}
    assert {k: v for k, v in done.items() if k not in volatile | {"type"}} == {
        k: v for k, v in whole.items() if k not in volatile | {"answer"}
    }
    assert set(streamed[1]["sources"][0]) == {"number", "title", "uri", "chunk_id", "score"}


async def test_frames_are_id_and_data_lines_only(live: Live, agent: int) -> None:
    path = f"/api/agents/{agent}/chat/stream"
    async with live.http.stream("POST", path, json={"message": QUESTION}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-request-id"]
        body = (await response.aread()).decode()
    frames = [frame.split("\n") for frame in body.strip("\n").split("\n\n")]
    assert [frame[0] for frame in frames] == [f"id: {n}" for n in range(1, len(frames) + 1)]
    assert all(len(frame) == 2 and frame[1].startswith("data: {") for frame in frames)


@pytest.mark.parametrize("path", ["sync", "stream"])
async def test_the_same_question_twice_is_cached_and_its_turn_is_stored(
    live: Live, agent: int, path: str
) -> None:
    first = (await live.stream(agent, QUESTION))[-1]
    second = (
        await live.ask(agent, QUESTION)
        if path == "sync"
        else (await live.stream(agent, QUESTION))[-1]
    )
    assert (first["cached"], second["cached"]) == (False, True)
    assert second["citations"] == first["citations"]
    stored = await live.json("GET", f"/api/conversations/{second['conversation_id']}")
    assert [each["role"] for each in stored["messages"]] == ["user", "assistant"]
    assert stored["messages"][1]["id"] == second["message_id"]
    assert stored["messages"][1]["citations"] == second["citations"]


async def test_a_changed_document_is_never_answered_from_the_cache(live: Live) -> None:
    portfolio = await live.portfolio(unique("docs"), Atlas=ATLAS, Harbor=HARBOR)
    agent = await live.agent(unique("agent"), portfolio, provider="extractive")
    assert "Ana Ruiz" in (await live.ask(agent, QUESTION))["answer"]
    await live.add(portfolio, Atlas=ATLAS.replace("Ana Ruiz", "Bo Lindqvist"))
    fresh = await live.ask(agent, QUESTION)
    assert not fresh["cached"]
    assert "Bo Lindqvist" in fresh["answer"]
    assert "Ana Ruiz" not in fresh["answer"]


async def test_a_removed_document_is_never_answered_from(live: Live) -> None:
    portfolio = await live.portfolio(unique("docs"), Harbor=HARBOR)
    [atlas] = await live.add(portfolio, Atlas=ATLAS)
    agent = await live.agent(unique("agent"), portfolio, provider="extractive")
    assert "Ana Ruiz" in (await live.ask(agent, QUESTION))["answer"]
    await live.json("DELETE", f"/api/documents/{atlas}", 204)
    assert "Ana Ruiz" not in (await live.ask(agent, QUESTION))["answer"]


async def test_a_changed_agent_answers_anew(live: Live, agent: int) -> None:
    await live.ask(agent, QUESTION)
    await live.json("PATCH", f"/api/agents/{agent}", json={"top_k": 2})
    answer = await live.ask(agent, QUESTION)
    assert not answer["cached"]
    assert answer["top_k"] == 2


@pytest.mark.parametrize("by", ["agent_id", "portfolio_id", None])
async def test_invalidation_forgets_and_counts(live: Live, by: str | None) -> None:
    portfolio = await live.portfolio(unique("docs"), Atlas=ATLAS)
    agent = await live.agent(unique("agent"), portfolio, provider="extractive")
    await live.ask(agent, QUESTION)
    ids = {"agent_id": agent, "portfolio_id": portfolio}
    scope = {by: ids[by]} if by else {}
    dropped = await live.json("DELETE", "/api/admin/cache", params=scope)
    assert dropped["invalidated"] >= 2  # the answer and its passages
    assert not (await live.ask(agent, QUESTION))["cached"]


async def test_a_spanish_question_is_answered_in_spanish(live: Live) -> None:
    text = "# Faro\n\nFaro es una aplicación de Python que predice la demanda de energía."
    portfolio = await live.portfolio(unique("docs"), Faro=text, Atlas=ATLAS, Harbor=HARBOR)
    agent = await live.agent(unique("agent"), portfolio, provider="extractive")
    answer = await live.ask(agent, "¿Qué predice la aplicación Faro?")
    assert answer["language"] == "es"
    assert "demanda de energía" in answer["answer"]


async def test_what_the_documents_do_not_say_is_not_answered(live: Live, agent: int) -> None:
    answer = await live.ask(agent, "What is the boiling point of tungsten?")
    assert not answer["citations"]


async def test_a_greeting_is_greeted_back(live: Live, agent: int) -> None:
    answer = await live.ask(agent, "hola")
    assert (answer["complexity"], answer["top_k"], answer["language"]) == ("trivial", 0, "es")
    assert "hola" in answer["answer"].lower()


async def test_a_conversation_goes_on_and_can_be_removed(live: Live, agent: int) -> None:
    first = await live.ask(agent, QUESTION)
    conversation = first["conversation_id"]
    await live.ask(agent, "What does Harbor plan?", conversation_id=conversation)
    stored = await live.json("GET", f"/api/conversations/{conversation}")
    assert [each["content"] for each in stored["messages"][::2]] == [
        QUESTION,
        "What does Harbor plan?",
    ]
    listed = await live.json("GET", "/api/conversations")
    assert conversation in [each["id"] for each in listed["items"]]
    await live.json("DELETE", f"/api/conversations/{conversation}", 204)
    body = {"message": QUESTION, "conversation_id": conversation}
    gone = await live.json("POST", f"/api/agents/{agent}/chat", 404, json=body)
    assert gone["code"] == "not_found"


async def test_retrieval_alone_says_where_each_passage_was_found(live: Live) -> None:
    portfolio = await live.portfolio(unique("docs"), Atlas=ATLAS, Harbor=HARBOR)
    body = {"query": QUESTION, "portfolio_id": portfolio, "top_k": 2}
    found = await live.json("POST", "/api/retrieve", json=body)
    assert set(found) == {"passages", "timings_ms", "degraded"}
    first = found["passages"][0]
    assert set(first) == {
        "number", "chunk_id", "document_id", "title", "uri", "text", "start", "end", "score",
        "sources",
    }  # fmt: skip
    assert first["title"] == "Atlas"
    assert set(first["sources"]) == {"vector", "keyword", "graph"}
    only = await live.json("POST", "/api/retrieve", json={**body, "sources": ["keyword"]})
    assert set(only["passages"][0]["sources"]) == {"keyword"}


async def test_filters_match_metadata(live: Live) -> None:
    portfolio = await live.portfolio(unique("docs"))
    documents = [
        {"title": "A", "text": "Atlas is a dashboard.", "metadata": {"team": "web"}},
        {"title": "B", "text": "Atlas is a mountain range.", "metadata": {"team": "geo"}},
    ]
    path = f"/api/portfolios/{portfolio}/documents?wait=true"
    await live.json("POST", path, json={"documents": documents})
    body = {"query": "What is Atlas?", "portfolio_id": portfolio, "filters": {"team": "geo"}}
    found = await live.json("POST", "/api/retrieve", json=body)
    assert [each["title"] for each in found["passages"]] == ["B"]


async def test_a_finished_run_can_be_read_again(live: Live, agent: int) -> None:
    streamed = await live.stream(agent, QUESTION)
    run = streamed[0]["run_id"]
    async with live.http.stream("GET", f"/api/runs/{run}/events") as response:
        assert [event async for event in events(response)] == streamed
    after = {"Last-Event-ID": "2"}
    async with live.http.stream("GET", f"/api/runs/{run}/events", headers=after) as response:
        assert [event async for event in events(response)] == streamed[2:]
    last = {"Last-Event-ID": str(len(streamed))}
    assert (await live.http.get(f"/api/runs/{run}/events", headers=last)).status_code == 204


async def test_many_questions_at_once_do_not_mix(live: Live, agent: int) -> None:
    asked = [("Who finished the Atlas dashboard?", "Ana Ruiz"), ("What does Harbor save?", "14")]

    async def one(number: int) -> None:
        message, expected = asked[number % 2]
        answer = await live.ask(agent, message, cache="off")
        assert expected in answer["answer"]

    await asyncio.gather(*(one(number) for number in range(24)))


async def test_documents_come_as_files_too(live: Live) -> None:
    portfolio = await live.portfolio(unique("docs"))
    files = [
        ("files", ("atlas.md", ATLAS.encode(), "text/markdown")),
        ("files", ("harbor.txt", HARBOR.encode(), "text/plain")),
        ("files", ("more.json", orjson.dumps({"title": "M", "text": "More."}), "application/json")),
    ]
    path = f"/api/portfolios/{portfolio}/documents"
    added = await live.json("POST", f"{path}?wait=true", files=files)
    assert [each["status"] for each in added["items"]] == ["indexed"] * 3
    again = await live.json("POST", f"{path}?wait=true", files=files)
    assert [each["action"] for each in again["items"]] == ["unchanged"] * 3
    listed = await live.json("GET", path)
    assert len(listed["items"]) == 3


async def test_a_document_that_is_deleted_while_it_is_waited_for_says_so_and_no_more(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    portfolio = await live.portfolio(unique("docs"))
    ingestor = live.services.ingestor
    index = ingestor.index

    async def one_is_deleted(upload_ids: Sequence[int]) -> None:
        await index(upload_ids)
        listed = await live.json("GET", f"/api/portfolios/{portfolio}/documents")
        [gone] = [each["id"] for each in listed["items"] if each["title"] == "B"]
        await live.json("DELETE", f"/api/documents/{gone}", 204)

    monkeypatch.setattr(ingestor, "index", one_is_deleted)
    body = {"documents": [{"title": title, "text": f"Text {title}."} for title in "ABC"]}
    path = f"/api/portfolios/{portfolio}/documents?wait=true"
    told = await live.json("POST", path, json=body)
    assert [each["status"] for each in told["items"]] == ["indexed", "failed", "indexed"]
    assert told["items"][1]["error"] == "It was deleted before it was indexed."
    assert len(told["ids"]) == 3


@pytest.mark.parametrize("portfolio", [-1, 0, 2**70])
async def test_a_stranger_is_told_nothing_of_a_portfolio_that_cannot_be(
    live: Live, agent: int, portfolio: int
) -> None:
    body = {"message": QUESTION, "portfolio_id": portfolio}
    path = f"/api/agents/{agent}/chat"
    known = await live.http.post(path, json=body)
    assert known.status_code in (404, 422)
    wrong = {"Authorization": "Bearer cs_wrong"}
    for each in (path, f"{path}/stream"):
        assert (await live.http.post(each, json=body, headers=wrong)).status_code == 401


async def test_documents_accepted_without_waiting_are_indexed_soon(live: Live) -> None:
    portfolio = await live.portfolio(unique("docs"))
    body = {"documents": [{"title": "Atlas", "text": ATLAS}]}
    path = f"/api/portfolios/{portfolio}/documents"
    accepted = await live.json("POST", path, 202, json=body)
    async with asyncio.timeout(30):
        while True:
            document = await live.json("GET", f"/api/documents/{accepted['ids'][0]}")
            if document["status"] != "pending":
                break
            await asyncio.sleep(0.02)
    assert document["status"] == "indexed"
    assert document["chunk_count"] >= 1


async def test_deleting_a_portfolio_removes_everything_of_it(live: Live) -> None:
    portfolio = await live.portfolio(unique("docs"))
    [document] = await live.add(portfolio, Atlas=ATLAS)
    agent = await live.agent(unique("agent"), portfolio, provider="extractive")
    await live.ask(agent, QUESTION)
    await live.json("DELETE", f"/api/portfolios/{portfolio}", 204)
    await live.json("GET", f"/api/documents/{document}", 404)
    answer = await live.ask(agent, QUESTION)
    assert not answer["cached"]
    assert not answer["citations"]


async def test_readiness_names_each_dependency(live: Live) -> None:
    ready = await live.json("GET", "/readyz")
    text = str(ready)
    assert all(name in text for name in ("postgres", "redis", "encoder"))
    assert (await live.http.get("/healthz")).status_code == 200


BAD_MESSAGES: list[tuple[Any, int, str]] = [
    ("", 422, "invalid_input"),
    ("   ", 422, "invalid_input"),
    ("x" * 8001, 422, "invalid_input"),
    ("a\0b", 422, "invalid_input"),
    (7, 422, "invalid_input"),
    (None, 422, "invalid_input"),
    (["a"], 422, "invalid_input"),
]


@pytest.mark.parametrize("path", ["chat", "chat/stream"])
@pytest.mark.parametrize(("message", "status", "code"), BAD_MESSAGES, ids=lambda v: repr(v)[:20])
async def test_bad_messages_are_refused_alike_and_change_nothing(
    live: Live, agent: int, path: str, message: Any, status: int, code: str
) -> None:
    before = await live.json("GET", "/api/conversations")
    response = await live.http.post(f"/api/agents/{agent}/{path}", json={"message": message})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code
    assert await live.json("GET", "/api/conversations") == before


@pytest.mark.parametrize("path", ["chat", "chat/stream"])
async def test_unknown_ids_are_not_found_alike(live: Live, path: str) -> None:
    for agent in ("999999", str(2**70), "0", "-1"):
        response = await live.http.post(f"/api/agents/{agent}/{path}", json={"message": "Hello?"})
        assert response.status_code in {404, 422}
        assert response.json()["code"] in {"not_found", "invalid_input"}


async def test_a_lone_surrogate_is_refused(live: Live, agent: int) -> None:
    body = b'{"message": "\\ud800"}'
    headers = {"Content-Type": "application/json"}
    response = await live.http.post(f"/api/agents/{agent}/chat", content=body, headers=headers)
    assert response.status_code == 422
