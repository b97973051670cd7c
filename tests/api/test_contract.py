"""The shapes of the contract, exactly: every field that is there, and none besides."""

import json
from typing import Any
from uuid import UUID

import httpx2

from app.api.routes import OF_CALLERS, OF_MACHINES, OF_STRANGERS
from tests.support.api_fakes import (
    AGENT,
    CONVERSATION,
    MESSAGE,
    NOW,
    OWNER,
    RUN,
    World,
)

CITATION = {
    "number": 1,
    "document_id": 7,
    "chunk_id": 11,
    "title": "React",
    "uri": "react.md",
    "quote": "React is a library.",
    "start": 0,
    "end": 19,
    "score": 0.5,
}
DONE: dict[str, Any] = {
    "citations": [CITATION],
    "cached": False,
    "run_id": str(RUN),
    "conversation_id": str(CONVERSATION),
    "message_id": str(MESSAGE),
    "complexity": "simple",
    "top_k": 3,
    "max_tokens": 2000,
    "language": "en",
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "estimated": True,
    },
    "timings_ms": {"retrieve": 1.5, "total": 2.25},
    "degraded": [],
    "finish_reason": "stop",
}
TIMES = {"created_at": NOW.isoformat(), "updated_at": NOW.isoformat()}
NO_KEY = {"base_url": None, "api_key_last4": None, "api_key_state": "none"}
AGENT_JSON = {"id": 1, "version": 1, **AGENT, **NO_KEY, **TIMES}
PORTFOLIO_JSON = {
    "id": 1,
    "name": "sample",
    "description": "",
    "version": 1,
    "document_count": 0,
    "chunk_count": 0,
    "readers": None,
    "writers": [],
    **TIMES,
}


async def test_whole_answer(world: World, client: httpx2.AsyncClient) -> None:
    question = {
        "message": "What is React?",
        "portfolio_id": 1,
        "conversation_id": str(CONVERSATION),
        "language": "EN-us",
        "grace_seconds": 5,
        "filters": {"kind": "note", "year": 2024, "draft": False, "weight": 0.5, "owner": None},
        "cache": "refresh",
    }
    response = await client.post("/api/agents/1/chat", json=question)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["server-timing"] == "retrieve;dur=1.50, total;dur=2.25"
    assert response.json() == {"answer": "React is a library [1].", **DONE}
    [(scope, asked, grace)] = world.engine.asked
    assert (scope, grace) == (OWNER, 5)
    assert (asked.agent, asked.message, asked.portfolio_id) == (1, "What is React?", 1)
    assert (asked.conversation_id, asked.language, asked.cache) == (CONVERSATION, "en", "refresh")
    assert asked.filters == question["filters"]
    assert [type(value) for value in asked.filters.values()] == [str, int, bool, float, type(None)]


async def test_the_shortest_question(world: World, client: httpx2.AsyncClient) -> None:
    emoji = r'{"message": "\ud83d\ude00", "conversation_id": null, "portfolio_id": null}'
    headers = {"Content-Type": "application/json; charset=utf-8"}
    response = await client.post("/api/agents/1/chat", content=emoji, headers=headers)
    assert response.status_code == 200
    [(_, asked, grace)] = world.engine.asked
    assert (asked.message, asked.cache, asked.language, grace) == ("😀", "use", None, 0.0)


async def test_stream(client: httpx2.AsyncClient) -> None:
    response = await client.post("/api/agents/1/chat/stream", json={"message": "What is React?"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    ids = {"run_id": str(RUN), "conversation_id": str(CONVERSATION), "message_id": str(MESSAGE)}
    source = {"number": 1, "title": "React", "uri": "react.md", "chunk_id": 11, "score": 0.5}
    events = [
        {"type": "start", **ids},
        {"type": "sources", "sources": [source]},
        {"type": "token", "content": "React is "},
        {"type": "token", "content": "a library [1]."},
        {"type": "done", **DONE},
    ]
    assert response.text == "".join(
        f"id: {number}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n"
        for number, event in enumerate(events, start=1)
    )


async def test_attaching_to_a_run(world: World, client: httpx2.AsyncClient) -> None:
    await client.post("/api/agents/1/chat", json={"message": "hi"})
    [run_id] = world.engine.runs._finished
    path = f"/api/runs/{run_id}/events"
    whole = (await client.get(path)).text
    assert whole.count("\n\n") == 5
    for options in ({"headers": {"Last-Event-ID": "3"}}, {"params": {"after": 3}}):
        rest = await client.get(path, **options)  # type: ignore[arg-type]
        assert rest.status_code == 200
        assert whole.endswith(rest.text)
        assert rest.text.startswith("id: 4\n")
    nothing = await client.get(path, headers={"Last-Event-ID": "5"})
    assert (nothing.status_code, nothing.content) == (204, b"")
    for wrong in ("x", "-1", "9" * 5000, "1.5"):
        refused = await client.get(path, headers={"Last-Event-ID": wrong})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    finished = await client.post(f"/api/runs/{run_id}/cancel")
    assert (finished.status_code, finished.json()) == (200, {"status": "finished"})


async def test_retrieve(world: World, client: httpx2.AsyncClient) -> None:
    query = {"query": "¿Qué proyectos hay de React?", "portfolio_id": 1, "top_k": 5}
    response = await client.post("/api/retrieve", json=query)
    assert response.status_code == 200
    passage = {key: value for key, value in CITATION.items() if key != "quote"}
    assert response.json() == {
        "passages": [{**passage, "text": "React is a library.", "sources": {"vector": 1}}],
        "timings_ms": {"vector": 1.0},
        "degraded": ["keyword"],
    }
    more = {"filters": {"kind": "note"}, "sources": ["vector"]}
    await client.post("/api/retrieve", json={**query, **more})
    first, second = world.retriever.asked
    assert (first.top_k, first.language, first.filters, first.sources) == (5, "es", {}, None)
    assert (second.filters, second.sources) == ({"kind": "note"}, ["vector"])


async def test_agents(client: httpx2.AsyncClient) -> None:
    listed = await client.get("/api/agents")
    assert listed.json() == {"items": [AGENT_JSON], "next": None}
    created = await client.post("/api/agents", json={"name": "second"})
    assert (created.status_code, created.headers["location"]) == (201, "/api/agents/2")
    assert created.json() == {**AGENT_JSON, "id": 2, "name": "second", "portfolio_id": None}
    first_page = (await client.get("/api/agents?limit=1")).json()
    second_page = (await client.get(f"/api/agents?limit=1&after={first_page['next']}")).json()
    assert [item["id"] for item in first_page["items"] + second_page["items"]] == [1, 2]
    assert second_page["next"] is None
    changes = {"portfolio_id": 1, "temperature": 1, "provider": "extractive", "model": None}
    changed = await client.patch("/api/agents/2", json=changes)
    assert changed.status_code == 200
    assert changed.json() == {**created.json(), **changes, "version": 2}
    assert (await client.get("/api/agents/2")).json() == changed.json()
    deleted = await client.delete("/api/agents/2")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await client.get("/api/agents/2")).status_code == 404


async def test_an_agents_key_is_written_and_shown_by_its_end(client: httpx2.AsyncClient) -> None:
    own = {"provider": "openai", "base_url": "https://llm.example/v1", "api_key": "sk-0123wxyz"}
    created = await client.post("/api/agents", json={"name": "own", **own})
    assert created.status_code == 201
    shown = {"api_key_last4": "wxyz", "api_key_state": "ok"}
    assert created.json().items() >= ({**own, **shown}.items() - {("api_key", own["api_key"])})
    assert "sk-0123" not in created.text + (await client.get("/api/agents")).text
    cleared = await client.patch("/api/agents/2", json={"base_url": None, "api_key": None,
                                                        "provider": "auto"})  # fmt: skip
    assert cleared.json().items() >= NO_KEY.items()


async def test_portfolios(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/api/portfolios")).json() == {"items": [PORTFOLIO_JSON], "next": None}
    assert (await client.get("/api/portfolios/1")).json() == PORTFOLIO_JSON
    created = await client.post("/api/portfolios", json={"name": "second", "description": "Two"})
    assert (created.status_code, created.headers["location"]) == (201, "/api/portfolios/2")
    assert created.json() == {**PORTFOLIO_JSON, "id": 2, "name": "second", "description": "Two"}
    changed = await client.patch("/api/portfolios/2", json={"description": ""})
    assert (changed.json()["name"], changed.json()["description"]) == ("second", "")
    assert (await client.delete("/api/portfolios/2")).status_code == 204


async def test_documents_as_json(client: httpx2.AsyncClient) -> None:
    note = {"title": "Note", "text": "React.", "uri": "note.md", "metadata": {"kind": "note"}}
    path = "/api/portfolios/1/documents"
    stored = await client.post(path, json={"documents": [note]})
    item = {"id": 1, "title": "Note", "uri": "note.md", "status": "pending", "action": "created"}
    assert stored.status_code == 202
    assert stored.json() == {"items": [{**item, "error": None}], "ids": [1]}
    broken = {"title": "unreadable", "text": "Vue."}
    indexed = await client.post(path, params={"wait": "true"}, json={"documents": [note, broken]})
    assert indexed.status_code == 200
    assert [
        (each["action"], each["status"], each["error"]) for each in indexed.json()["items"]
    ] == [
        ("unchanged", "pending", None),
        ("created", "failed", "It cannot be read."),
    ]
    shown = (await client.get("/api/documents/1")).json()
    assert shown == {
        "id": 1,
        "portfolio_id": 1,
        **note,
        "language": "en",
        "status": "pending",
        "error": None,
        "chunk_count": 0,
        **TIMES,
    }
    listed = (await client.get(path)).json()
    del shown["text"]
    assert listed["items"][0] == shown
    assert (await client.delete("/api/documents/1")).status_code == 204


async def test_documents_as_files(client: httpx2.AsyncClient) -> None:
    files = [
        ("a", ("one.md", b"# One\n\ntext", "text/markdown")),
        ("a", ("two.txt", "Zwei, größer".encode() * 200_000, "text/plain")),
        ("b", ("three.json", b'[{"title": "Three", "text": "3"}]', "application/json")),
    ]
    path = "/api/portfolios/1/documents?wait=true"
    big = await client.post(path, files=files)
    assert (big.status_code, big.json()["code"]) == (413, "too_large")
    files[1] = ("a", ("two.txt", "Zwei, größer".encode(), "text/plain"))
    response = await client.post(path, files=files)
    assert response.status_code == 200
    assert [(each["title"], each["status"]) for each in response.json()["items"]] == [
        ("One", "indexed"),
        ("two", "indexed"),
        ("Three", "indexed"),
    ]


async def test_conversations(world: World, client: httpx2.AsyncClient) -> None:
    conversation = {"id": str(CONVERSATION), "agent_id": 1, "title": "React?", **TIMES}
    listed = await client.get("/api/conversations")
    assert listed.json() == {"items": [conversation], "next": None}
    shown = (await client.get(f"/api/conversations/{CONVERSATION}")).json()
    answer = {
        "id": str(MESSAGE),
        "run_id": str(RUN),
        "role": "assistant",
        "content": "A library [1].",
        "status": "complete",
        "citations": [CITATION],
        "created_at": NOW.isoformat(),
    }
    assert shown["messages"][1] == answer
    del shown["messages"]
    assert shown == conversation
    assert (await client.delete(f"/api/conversations/{CONVERSATION}")).status_code == 204
    assert world.history.deleted == [UUID(str(CONVERSATION))]


async def test_cache_invalidation(world: World, client: httpx2.AsyncClient) -> None:
    path = "/api/admin/cache"
    assert (await client.delete(path)).json() == {"invalidated": 2}
    assert (await client.delete(path, params={"agent_id": 1})).json() == {"invalidated": 2}
    both = await client.delete(path, params={"agent_id": 1, "portfolio_id": 3})
    assert both.json() == {"invalidated": 4}
    assert world.invalidation.raised == [(None, None), (1, None), (1, 3)]
    assert world.cache.dropped == ["tenant:{1}", "agent:{1}:1", "agent:{1}:1", "portfolio:{1}:3"]


async def test_statistics(world: World, client: httpx2.AsyncClient) -> None:
    path = "/api/admin/stats"
    layer = {"lookups": 8, "local_hits": 1, "shared_hits": 2, "puts": 3}
    layer |= {"misses": 5, "hit_rate": 0.375}
    vectors = dict.fromkeys(("local_hits", "shared_hits", "joined", "encoded"), 4)
    told = (await client.get(path)).json()
    resident = told["memory"].pop("resident_bytes")
    assert resident is None or resident > 1e6
    performance = told.pop("performance")
    assert (performance["scope"], performance["processes"]) == ("process", 1)
    assert {"since_start", "last_5_minutes"} < performance.keys()
    assert told == {
        "caches": {
            "answers": layer,
            "passages": layer,
            "semantic": {**dict.fromkeys(layer, 0), "hit_rate": None},
            "vectors": {**vectors, "hit_rate": 0.75},
            "local": {"entries": 5, "bytes": 6, "limit_bytes": 7},
            "redis": {"state": "away", "refused": 1, "failed": 2, "skipped": 3},
        },
        "runs": {"active": 0},
        "queue": {"documents": 0},
        "pools": {"questions": {"size": 10, "open": 2, "in_use": 1, "waiting": 0}},
        "encoders": {"main": True, "next": False},
        "memory": {},
    }
    world.documents.away = True
    away = await client.get(path)
    assert (away.status_code, away.json()["queue"]) == (200, {"documents": None})


async def test_health(world: World, client: httpx2.AsyncClient) -> None:
    elsewhere = {"Host": "pod.internal"}
    assert (await client.get("/healthz", headers=elsewhere)).json() == {"status": "ok"}
    ready = await client.get("/readyz", headers=elsewhere)
    assert ready.json() == {"status": "ok", "dependencies": {"postgres": "ok"}}
    world.dependencies["redis"] = "degraded: no answer"
    degraded = await client.get("/readyz")
    assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
    world.dependencies["postgres"] = "down: refused"
    down = await client.get("/readyz")
    assert (down.status_code, down.headers["retry-after"]) == (503, "1")
    assert down.json()["dependencies"] == world.dependencies
    assert down.json()["code"] == "unavailable"


async def test_openapi_describes_every_call_that_speaks_json(client: httpx2.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()
    for router in (*OF_CALLERS, *OF_STRANGERS, *OF_MACHINES):
        for route in router.routes:
            if route.path == "/metrics":  # type: ignore[attr-defined]
                continue
            for method in route.methods:  # type: ignore[attr-defined]
                call = described["paths"][route.path][method.lower()]  # type: ignore[attr-defined]
                assert call["description"].endswith(".")
                assert "application/problem+json" in call["responses"]["4XX"]["content"]
    chat = described["paths"]["/api/agents/{agent_id}/chat"]["post"]
    fields = chat["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(fields) == {
        "message",
        "portfolio_id",
        "conversation_id",
        "language",
        "grace_seconds",
        "filters",
        "cache",
    }
    assert "$defs" not in json.dumps(described)
