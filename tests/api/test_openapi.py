"""The OpenAPI document says what the service does, in the contract's words."""

import json
from typing import Any

import httpx2
import pytest

from app.api.schemas import AgentBody, AgentChange, DocumentsBody, request_body


@pytest.fixture
async def document(client: httpx2.AsyncClient) -> dict[str, Any]:
    described = await client.get("/openapi.json")
    assert described.status_code == 200
    return dict(described.json())


def operations(document: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


async def test_every_call_has_a_sentence_of_its_own(document: dict[str, Any]) -> None:
    summaries = [operation["summary"] for operation in operations(document).values()]
    assert len(set(summaries)) == len(summaries)
    assert all(" " in summary and not summary.endswith(".") for summary in summaries)


async def test_the_statuses_of_success(document: dict[str, Any]) -> None:
    successes = {
        call: {status for status in operation["responses"] if status.startswith("2")}
        for call, operation in operations(document).items()
    }
    others = {call: statuses for call, statuses in successes.items() if statuses != {"200"}}
    assert others == {
        "GET /api/runs/{run_id}/events": {"200", "204"},
        "POST /api/runs/{run_id}/cancel": {"200", "202"},
        "POST /api/agents": {"201"},
        "DELETE /api/agents/{agent_id}": {"204"},
        "POST /api/portfolios": {"201"},
        "DELETE /api/portfolios/{portfolio_id}": {"204"},
        "POST /api/portfolios/{portfolio_id}/documents": {"200", "202"},
        "DELETE /api/documents/{document_id}": {"204"},
        "DELETE /api/conversations/{conversation_id}": {"204"},
        "POST /api/users": {"201"},
        "DELETE /api/users/{user_id}": {"204"},
        "POST /api/keys": {"201"},
        "DELETE /api/keys/{key_id}": {"204"},
        "DELETE /api/session": {"204"},
    }


async def test_every_answer_is_described(document: dict[str, Any]) -> None:
    streams = {"POST /api/agents/{agent_id}/chat/stream", "GET /api/runs/{run_id}/events"}
    for call, operation in operations(document).items():
        for status, response in operation["responses"].items():
            assert "X-Request-ID" in response["headers"], (call, status)
            if status == "204":
                assert "content" not in response
                continue
            [(media_type, content)] = response["content"].items()
            if status in ("4XX", "5XX", "503"):
                assert media_type == "application/problem+json"
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            elif call in streams:
                assert media_type == "text/event-stream"
            else:
                assert media_type == "application/json"
                assert content["schema"]["$ref"].startswith("#/components/schemas/")


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    references = {part.partition('"')[0] for part in text.split('"$ref": "')[1:]}
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references <= schemas


async def test_a_problem_is_as_described(
    client: httpx2.AsyncClient, document: dict[str, Any]
) -> None:
    schema = document["components"]["schemas"]["Problem"]
    problem = (await client.post("/api/retrieve", json={})).json()
    assert set(schema["required"]) | {"errors"} == set(problem) == set(schema["properties"])


async def test_parameters_are_called_as_they_are_sent(document: dict[str, Any]) -> None:
    events = document["paths"]["/api/runs/{run_id}/events"]["get"]
    named = {parameter["name"]: parameter for parameter in events["parameters"]}
    assert set(named) == {"run_id", "after", "Last-Event-ID"}
    assert named["Last-Event-ID"]["schema"]["type"] == "integer"


async def test_a_wrong_query_is_called_query(client: httpx2.AsyncClient) -> None:
    refused = await client.post("/api/retrieve", json={"query": "", "portfolio_id": 1})
    assert refused.json()["detail"].startswith("query: The field `query` is empty")


def test_a_change_has_no_defaults_and_a_new_object_has() -> None:
    def schema(described: dict[str, Any]) -> dict[str, Any]:
        return dict(described["requestBody"]["content"]["application/json"]["schema"])

    change = schema(request_body(AgentChange, partial=True))
    assert change["minProperties"] == 1
    assert not any("default" in field for field in change["properties"].values())
    new = schema(request_body(AgentBody))
    assert new["required"] == ["name"]
    assert new["properties"]["provider"]["default"] == "auto"
    assert new["properties"]["name"]["maxLength"] == 100


def test_a_text_s_bounds_are_those_that_are_checked() -> None:
    content = request_body(DocumentsBody, files=True)["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    items = content["application/json"]["schema"]["properties"]["documents"]["items"]
    text, page = items["anyOf"]
    assert (text["required"], page["required"]) == (["title", "text"], ["url"])
    assert text["properties"]["title"]["maxLength"] == 500
    assert text["properties"]["text"]["minLength"] == 1
    assert page["properties"]["url"]["maxLength"] == 2000
