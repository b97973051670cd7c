"""Requests generated from the service's own OpenAPI document, sent to it over real sockets.

Whatever is sent: no 5xx, every error is a problem with a code, every answer has its request id
and is one that the document announces. The examples are the same in every run.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.chat.language import detect_language
from app.main import create_app
from tests.support.generated import CREDENTIALS, Request, mostly, requests_of
from tests.support.live import PLAIN, Live, unique
from tests.support.wire import Reply, exchange

TEXT = "Atlas is a dashboard built with React. It was finished in 2021 by Ana Ruiz."
IDS = (
    "agent_id", "portfolio_id", "document_id", "conversation_id", "run_id", "user_id", "key_id"
)  # fmt: skip
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "null": type(None),
}
ERRORS = {400, 401, 403, 404, 405, 409, 413, 415, 422}


def no_services() -> Any:
    raise AssertionError("nothing starts the application that only describes itself")


DOCUMENT: dict[str, Any] = orjson.loads(orjson.dumps(create_app(no_services).openapi()))
OPERATIONS: list[tuple[str, str, Any]] = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
EXAMPLES = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a failure is readable as it is, and shrinking it takes minutes
    deadline=None,  # the time an answer takes is other tests' matter
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Tenant(Live):
    """The service as a tenant of its own sees it: what is deleted here is nobody else's."""

    authorization: bytes


@pytest.fixture(scope="module")
async def tenant(live: Live) -> AsyncIterator[Tenant]:
    # Loads numpy here: hypothesis fails where it meets it half imported by indexing's thread.
    assert detect_language("Сколько стоит проект и кто его сделал в этом году") == "ru"
    key = await live.services.credentials.create(unique("generated"), "test")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=live.url, headers=headers, timeout=30, **PLAIN) as http:
        yield Tenant(live.url, http, live.services, headers["Authorization"].encode())


@pytest.fixture
async def ids(tenant: Tenant) -> Mapping[str, st.SearchStrategy[Any]]:
    """Ids of objects that exist, mixed with ids of none."""
    portfolio = await tenant.portfolio(unique("docs"), Atlas=TEXT)
    agent = await tenant.agent(unique("agent"), portfolio, provider="extractive")
    documents = await tenant.json("GET", f"/api/portfolios/{portfolio}/documents")
    answer = await tenant.ask(agent, "Who finished the Atlas dashboard?")
    email = f"{unique('person')}@example.com"
    user = await tenant.json("POST", "/api/users", 201, json={"email": email})
    key = await tenant.json("POST", "/api/keys", 201, json={"name": "k"})
    known = {
        "user_id": user["id"],
        "key_id": key["id"],
        "agent_id": agent,
        "portfolio_id": portfolio,
        "document_id": documents["items"][0]["id"],
        "conversation_id": answer["conversation_id"],
        "run_id": answer["run_id"],
    }
    return {
        name: mostly(st.just(value), st.uuids().map(str) if "-" in str(value) else st.integers())
        for name, value in known.items()
    }


@pytest.fixture
def requests(
    ids: Mapping[str, st.SearchStrategy[Any]], method: str, path: str, operation: Mapping[str, Any]
) -> st.SearchStrategy[Request]:
    """Made once for all examples of an operation, which takes longer than drawing from it."""
    return requests_of(method, path, operation, ids)


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{each[0]} {each[1]}" for each in OPERATIONS]
)
@EXAMPLES
@given(data=st.data())
async def test_no_request_breaks_it(
    tenant: Tenant,
    requests: st.SearchStrategy[Request],
    method: str,
    path: str,
    operation: Mapping[str, Any],
    data: st.DataObject,
) -> None:
    request = data.draw(requests)
    reply = await send(tenant.url, request, tenant.authorization)
    check_common(reply)
    if request.method == method and reply.status < 300:
        check_announced(reply, operation)


@EXAMPLES
@given(
    request=st.one_of([requests_of(*each, dict.fromkeys(IDS, st.just(1))) for each in OPERATIONS]),
    credential=st.sampled_from(CREDENTIALS),
)
async def test_nothing_is_said_to_a_wrong_credential(
    live: Live, request: Request, credential: bytes
) -> None:
    reply = await send(live.url, request, credential)
    check_common(reply)
    public = request.target.startswith((b"/healthz", b"/readyz"))
    assert public or reply.status in (401, 404, 405)


@pytest.mark.parametrize(
    ("method", "target"), [("NONSENSE", b"/healthz"), ("GET", b"/healthz?\xc3\xa9"), ("GET", b"x")]
)
async def test_what_is_not_http_is_refused_below_the_application(
    live: Live, method: str, target: bytes
) -> None:
    assert (await exchange(live.url, method, target, (), b"")).status == 400


async def test_the_served_document_is_this_one(live: Live) -> None:
    assert await live.json("GET", "/openapi.json") == DOCUMENT


async def test_the_service_still_answers(live: Live, tenant: Live) -> None:
    """And nothing has happened to other tenants."""
    agents = await live.json("GET", "/api/agents")
    assert "default" in [agent["name"] for agent in agents["items"]]
    portfolio = await tenant.portfolio(unique("docs"), Atlas=TEXT)
    agent = await tenant.agent(unique("agent"), portfolio, provider="extractive")
    assert (await tenant.ask(agent, "Who finished the Atlas dashboard?"))["citations"]


async def send(url: str, request: Request, authorization: bytes) -> Reply:
    headers = [(b"Authorization", authorization), *request.headers]
    return await exchange(url, request.method, request.target, headers, request.body)


def check_common(reply: Reply) -> None:
    """What every answer promises."""
    assert reply.status < 500, reply
    request_id = reply.headers["x-request-id"]
    if reply.status < 400:
        return
    assert reply.status in ERRORS, reply
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert conforms(problem, DOCUMENT["components"]["schemas"]["Problem"])
    assert (problem["status"], problem["request_id"]) == (reply.status, request_id)
    assert problem["code"] and problem["detail"]


def check_announced(reply: Reply, operation: Mapping[str, Any]) -> None:
    """The answer to a call is one that the document has for it."""
    announced = operation["responses"][str(reply.status)]
    if reply.status == 204:
        assert not reply.body
        return
    [(media_type, content)] = announced["content"].items()
    assert reply.headers["content-type"].partition(";")[0] == media_type
    if media_type == "text/event-stream":
        check_events(reply.body.decode())
    else:
        assert conforms(reply.json(), content["schema"]), reply


def check_events(text: str) -> None:
    blocks = text.removesuffix("\n\n").split("\n\n")
    kinds = [orjson.loads(block.partition("data: ")[2])["type"] for block in blocks]
    assert kinds[-1] in ("done", "error")
    assert not {"done", "error"} & set(kinds[:-1])


def conforms(value: Any, schema: Mapping[str, Any] | bool) -> bool:
    """Whether a value is one of a JSON schema, as far as the document's answers use it. A field
    that an object's schema does not name is one too many."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        return conforms(value, DOCUMENT["components"]["schemas"][schema["$ref"].split("/")[-1]])
    if "anyOf" in schema:
        return any(conforms(value, option) for option in schema["anyOf"])
    if "type" not in schema:
        return True
    if not isinstance(value, TYPES[schema["type"]]):
        return False
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        others = schema.get("additionalProperties", not fields)
        named = set(schema.get("required", ())) <= set(value)
        return named and all(conforms(part, fields.get(key, others)) for key, part in value.items())
    return not isinstance(value, list) or all(conforms(item, schema["items"]) for item in value)
