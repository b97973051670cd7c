"""Every wrong request: its status, its code, and a problem document that says what to do."""

import json
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.chat.model import MAX_MESSAGE_CHARS
from app.errors import (
    AppError,
    DatabaseUnavailable,
    NotFound,
    ProviderRateLimited,
    ProviderTimeout,
)
from tests.support.api_fakes import ANSWERED, Step, World, client_of

CHAT = "/api/agents/1/chat"
STREAM = "/api/agents/1/chat/stream"
DOCUMENTS = "/api/portfolios/1/documents"
JSON = {"Content-Type": "application/json"}
UNKNOWN = "01890000-0000-7000-8000-00000000ffff"


def raw(body: str | bytes, **headers: str) -> dict[str, Any]:
    return {"content": body, "headers": {**JSON, **headers}}


def body(**fields: Any) -> dict[str, Any]:
    return {"json": fields}


def agent(**fields: Any) -> dict[str, Any]:
    return body(**{"name": "another", **fields})


def file(name: str, data: bytes, content_type: str = "text/plain") -> dict[str, Any]:
    return {"files": {"any": (name, data, content_type)}}


WRONG: list[tuple[str, str, dict[str, Any], int, str]] = [
    # The router's own.
    ("GET", "/nothing", {}, 404, "not_found"),
    ("GET", "/api/agents/", {}, 404, "not_found"),
    ("GET", "/docs", {}, 404, "not_found"),
    ("PUT", "/api/agents", {}, 405, "method_not_allowed"),
    ("OPTIONS", CHAT, {}, 405, "method_not_allowed"),
    # Messages.
    ("POST", CHAT, body(), 422, "invalid_input"),
    ("POST", CHAT, body(message=""), 422, "invalid_input"),
    ("POST", CHAT, body(message=" \n\t"), 422, "invalid_input"),
    ("POST", CHAT, body(message="x" * (MAX_MESSAGE_CHARS + 1)), 422, "invalid_input"),
    ("POST", CHAT, body(message="a\0b"), 422, "invalid_input"),
    ("POST", CHAT, raw(r'{"message": "\ud800"}'), 422, "invalid_input"),
    ("POST", CHAT, raw(r'{"message": "hello", "\udfff": 1}'), 422, "invalid_input"),
    ("POST", CHAT, body(message=5), 422, "invalid_input"),
    ("POST", CHAT, body(message=None), 422, "invalid_input"),
    ("POST", CHAT, body(message=["hello"]), 422, "invalid_input"),
    # The other fields of a question.
    ("POST", CHAT, body(message="hi", massage="hi"), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", portfolio_id="1"), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", portfolio_id=True), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", portfolio_id=1.5), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", portfolio_id=2**63), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", conversation_id="x"), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", conversation_id=7), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", language="klingon"), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", language=""), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", grace_seconds=-1), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", grace_seconds=601), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", grace_seconds="5"), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", cache="maybe"), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", filters=[]), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", filters={"a": {"b": 1}}), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", filters={"a": ["b"]}), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", filters={"": "b"}), 422, "invalid_input"),
    ("POST", CHAT, body(message="hi", filters={"a": "b\0"}), 422, "invalid_input"),
    (
        "POST",
        CHAT,
        body(message="hi", filters={str(i): i for i in range(21)}),
        422,
        "invalid_input",
    ),
    # Bodies that are not what they should be.
    ("POST", CHAT, raw(""), 400, "malformed_body"),
    ("POST", CHAT, raw("{"), 400, "malformed_body"),
    ("POST", CHAT, raw("{'message': 'hi'}"), 400, "malformed_body"),
    ("POST", CHAT, raw('{"message": "hi"} x'), 400, "malformed_body"),
    ("POST", CHAT, raw(b'{"message": "\xff"}'), 400, "malformed_body"),
    ("POST", CHAT, raw('{"message": "h\ni"}'), 400, "malformed_body"),
    ("POST", CHAT, raw('{"message": "hi", "grace_seconds": NaN}'), 400, "malformed_body"),
    ("POST", CHAT, raw('{"message": "hi", "grace_seconds": Infinity}'), 400, "malformed_body"),
    ("POST", CHAT, raw('{"message": "hi", "grace_seconds": 1e999}'), 422, "invalid_input"),
    ("POST", CHAT, raw(f'{{"portfolio_id": {"9" * 5000}}}'), 422, "invalid_input"),
    ("POST", CHAT, raw("[" * 100_000), 422, "invalid_input"),
    ("POST", CHAT, raw("[" * 40 + "]" * 40), 422, "invalid_input"),
    ("POST", CHAT, raw("[]"), 422, "invalid_input"),
    ("POST", CHAT, raw('"hi"'), 422, "invalid_input"),
    ("POST", CHAT, raw("null"), 422, "invalid_input"),
    ("POST", CHAT, {"content": '{"message": "hi"}'}, 415, "unsupported_media_type"),
    ("POST", CHAT, {"data": {"message": "hi"}}, 415, "unsupported_media_type"),
    ("POST", CHAT, raw("{}", **{"Content-Type": "text/plain"}), 415, "unsupported_media_type"),
    ("POST", CHAT, raw("{}", **{"Content-Encoding": "gzip"}), 415, "unsupported_media_type"),
    ("POST", CHAT, raw(b" " * (256 * 1024 + 1)), 413, "too_large"),
    ("POST", STREAM, body(message=""), 422, "invalid_input"),
    ("POST", STREAM, raw("{"), 400, "malformed_body"),
    ("POST", STREAM, {"content": "{}"}, 415, "unsupported_media_type"),
    # Ids.
    ("GET", "/api/agents/7", {}, 404, "not_found"),
    ("GET", "/api/agents/0", {}, 404, "not_found"),
    ("GET", "/api/agents/-1", {}, 404, "not_found"),
    ("GET", f"/api/agents/{2**63}", {}, 404, "not_found"),
    ("GET", f"/api/agents/{'9' * 5000}", {}, 422, "invalid_input"),
    ("GET", "/api/agents/one", {}, 422, "invalid_input"),
    ("GET", "/api/agents/%00", {}, 422, "invalid_input"),
    ("POST", f"/api/agents/{2**70}/chat", body(message="hi"), 404, "not_found"),
    ("DELETE", "/api/agents/7", {}, 404, "not_found"),
    ("GET", "/api/portfolios/7", {}, 404, "not_found"),
    ("GET", "/api/documents/7", {}, 404, "not_found"),
    ("DELETE", "/api/documents/7", {}, 404, "not_found"),
    ("GET", f"/api/conversations/{UNKNOWN}", {}, 404, "not_found"),
    ("GET", "/api/conversations/x", {}, 422, "invalid_input"),
    ("GET", f"/api/runs/{UNKNOWN}/events", {}, 404, "not_found"),
    ("POST", f"/api/runs/{UNKNOWN}/cancel", {}, 404, "not_found"),
    ("POST", "/api/runs/x/cancel", {}, 422, "invalid_input"),
    # Lists.
    ("GET", "/api/agents?limit=0", {}, 422, "invalid_input"),
    ("GET", "/api/agents?limit=201", {}, 422, "invalid_input"),
    ("GET", "/api/agents?limit=x", {}, 422, "invalid_input"),
    ("GET", "/api/agents?after=x", {}, 422, "invalid_input"),
    ("GET", "/api/agents?after=", {}, 422, "invalid_input"),
    ("GET", "/api/agents?after=%00", {}, 422, "invalid_input"),
    ("GET", f"/api/agents?after={'1' * 501}", {}, 422, "invalid_input"),
    # Agents.
    ("POST", "/api/agents", body(), 422, "invalid_input"),
    ("POST", "/api/agents", agent(name="default"), 409, "conflict"),
    ("POST", "/api/agents", agent(name=" "), 422, "invalid_input"),
    ("POST", "/api/agents", agent(name="x" * 101), 422, "invalid_input"),
    ("POST", "/api/agents", agent(provider="acme"), 422, "invalid_input"),
    ("POST", "/api/agents", agent(provider="openai"), 422, "invalid_input"),
    ("POST", "/api/agents", agent(top_k=0), 422, "invalid_input"),
    ("POST", "/api/agents", agent(top_k=51), 422, "invalid_input"),
    ("POST", "/api/agents", agent(max_tokens=0), 422, "invalid_input"),
    ("POST", "/api/agents", agent(max_tokens=32_001), 422, "invalid_input"),
    ("POST", "/api/agents", agent(temperature=2.1), 422, "invalid_input"),
    ("POST", "/api/agents", agent(system_prompt="x" * 20_001), 422, "invalid_input"),
    ("POST", "/api/agents", agent(version=3), 422, "invalid_input"),
    ("PATCH", "/api/agents/1", body(), 422, "invalid_input"),
    ("PATCH", "/api/agents/1", body(name=None), 422, "invalid_input"),
    ("PATCH", "/api/agents/1", body(provider="mistral"), 422, "invalid_input"),
    ("PATCH", "/api/agents/7", body(name="x"), 404, "not_found"),
    # Portfolios.
    ("POST", "/api/portfolios", body(name="sample"), 409, "conflict"),
    ("POST", "/api/portfolios", body(name=""), 422, "invalid_input"),
    ("PATCH", "/api/portfolios/1", body(version=2), 422, "invalid_input"),
    # Documents.
    ("POST", DOCUMENTS, body(documents=[]), 422, "invalid_input"),
    ("POST", DOCUMENTS, body(documents=[{"title": "a"}]), 422, "invalid_input"),
    ("POST", DOCUMENTS, body(documents=[{"title": "a", "text": ""}]), 422, "empty_document"),
    ("POST", DOCUMENTS, body(documents=[{"title": "", "text": "a"}]), 422, "invalid_input"),
    ("POST", DOCUMENTS, body(documents=[{"title": "a", "text": "a\0"}]), 422, "invalid_input"),
    ("POST", DOCUMENTS, {"content": "text"}, 415, "unsupported_media_type"),
    ("POST", DOCUMENTS, {"data": {"a": "b"}}, 415, "unsupported_media_type"),
    ("POST", DOCUMENTS, file("a.md", b""), 422, "empty_document"),
    ("POST", DOCUMENTS, file("a.md", b"\xff\xfe\xfd"), 422, "invalid_encoding"),
    ("POST", DOCUMENTS, file("a.md", b"a\0b"), 422, "invalid_text"),
    ("POST", DOCUMENTS, file("a.pdf", b"%PDF-1.7"), 415, "unsupported_media_type"),
    ("POST", DOCUMENTS, file("a.md", b"x" * 2**20), 413, "too_large"),
    ("POST", "/api/portfolios/7/documents", file("a.md", b"text"), 404, "not_found"),
    (
        "POST",
        DOCUMENTS,
        raw(
            "--b\r\nContent-Disposition: form-data; name=t\r\n\r\nx\r\n--b--\r\n",
            **{"Content-Type": "multipart/form-data; boundary=b"},
        ),
        422,
        "invalid_input",
    ),
    (
        "POST",
        DOCUMENTS,
        raw("garbage", **{"Content-Type": "multipart/form-data; boundary=b"}),
        400,
        "malformed_body",
    ),
    (
        "POST",
        DOCUMENTS,
        raw("garbage", **{"Content-Type": "multipart/form-data"}),
        400,
        "malformed_body",
    ),
    # Retrieval and the rest.
    ("POST", "/api/retrieve", body(query="x"), 422, "invalid_input"),
    ("POST", "/api/retrieve", body(query="", portfolio_id=1), 422, "invalid_input"),
    ("POST", "/api/retrieve", body(query="x", portfolio_id=7), 404, "not_found"),
    ("POST", "/api/retrieve", body(query="x", portfolio_id=1, top_k=0), 422, "invalid_input"),
    ("POST", "/api/retrieve", body(query="x", portfolio_id=1, top_k=51), 422, "invalid_input"),
    ("POST", "/api/retrieve", body(query="x", portfolio_id=1, sources=[]), 422, "invalid_input"),
    ("DELETE", "/api/admin/cache?agent_id=99", {}, 404, "not_found"),
    ("DELETE", "/api/admin/cache?agent_id=x", {}, 422, "invalid_input"),
    ("DELETE", f"/api/admin/cache?portfolio_id={2**64}", {}, 404, "not_found"),
]


@pytest.mark.parametrize(("method", "path", "request_", "status", "code"), WRONG)
async def test_wrong_request(
    client: httpx2.AsyncClient,
    method: str,
    path: str,
    request_: dict[str, Any],
    status: int,
    code: str,
) -> None:
    response = await client.request(method, path, **request_)
    problem = check_problem(response, status, code)
    assert problem["retryable"] is False


def check_problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:citestream:problem:{code}"
    assert problem["title"]
    assert problem["detail"].endswith(".")
    assert len(problem["detail"]) < 1000
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


async def test_validation_names_each_field(client: httpx2.AsyncClient) -> None:
    documents = [{"title": "a", "text": "b"}, {"title": 1, "txet": "secret"}]
    response = await client.post(DOCUMENTS, json={"documents": documents})
    problem = check_problem(response, 422, "invalid_input")
    assert problem["errors"] == [
        {"field": "documents[1].title", "message": "should be a valid string"},
        {"field": "documents[1].text", "message": "is required"},
        {"field": "documents[1].txet", "message": "is not a field of this request"},
    ]
    assert problem["detail"] == (
        "documents[1].title: should be a valid string; documents[1].text: is required; "
        "documents[1].txet: is not a field of this request."
    )
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/agents", "GET, POST"),
        ("/api/agents/1", "GET, PATCH, DELETE"),
        (CHAT, "POST"),
        ("/healthz", "GET"),
        ("/", "GET, HEAD"),
    ],
)
async def test_a_method_not_allowed_lists_those_that_are(
    client: httpx2.AsyncClient, path: str, allowed: str
) -> None:
    response = await client.put(path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("path", [CHAT, STREAM])
@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (NotFound(), None),
        (DatabaseUnavailable(), "1"),
        (ProviderTimeout(), None),
        (ProviderRateLimited(retry_after=6.2), "7"),
    ],
)
async def test_an_error_before_the_first_event_is_a_status_on_both_paths(
    world: World, client: httpx2.AsyncClient, path: str, error: AppError, retry_after: str | None
) -> None:
    world.engine.refusal = error
    response = await client.post(path, json={"message": "hi"})
    problem = check_problem(response, error.status, error.code)
    assert problem["detail"] == error.message
    assert problem["retryable"] is error.retryable
    assert response.headers.get("retry-after") == retry_after


@pytest.mark.parametrize("path", [CHAT, STREAM])
async def test_a_run_that_begins_with_its_failure_is_a_status(
    world: World, client: httpx2.AsyncClient, path: str
) -> None:
    world.engine.script = [ProviderTimeout()]
    response = await client.post(path, json={"message": "hi"})
    assert check_problem(response, 504, "provider_timeout")["retryable"] is True


async def test_a_failure_later_on_is_a_status_for_the_whole_answer_only(
    world: World, client: httpx2.AsyncClient
) -> None:
    script: list[Step] = [*ANSWERED[:3], ProviderTimeout("Too slow.")]
    world.engine.script = script
    check_problem(await client.post(CHAT, json={"message": "hi"}), 504, "provider_timeout")
    response = await client.post(STREAM, json={"message": "hi"})
    assert response.status_code == 200
    last = json.loads(response.text.strip().splitlines()[-1].removeprefix("data: "))
    assert last == {
        "type": "error",
        "code": "provider_timeout",
        "message": "Too slow.",
        "retryable": True,
    }


async def test_a_bug_is_a_500_without_details(world: World) -> None:
    async def broken() -> dict[str, str]:
        raise RuntimeError("secret")

    world.readiness = broken  # type: ignore[method-assign]
    with capture_logs():
        async with client_of(world) as client:
            response = await client.get("/readyz")
    check_problem(response, 500, "internal_error")
    assert "secret" not in response.text


async def test_a_switched_off_stream_says_so(world: World) -> None:
    world.streaming = False
    async with client_of(world) as client:
        response = await client.post(STREAM, json={"message": "hi"})
        check_problem(response, 403, "feature_disabled")
        assert (await client.post(CHAT, json={"message": "hi"})).status_code == 200


MULTIPART = "multipart/form-data; boundary=b"
NAMED = 'form-data; name="f"; filename="a.md"'


@pytest.mark.parametrize(
    ("content_type", "disposition", "more"),
    [
        (MULTIPART, "form-data; name=f; filename*=utf-8''%E2%82%AC.md", ""),
        (MULTIPART, "form-data; name=f; filename*=nonsense''%FF%FE.md", ""),
        (MULTIPART, 'form-data; name="f"; filename=""', ""),
        (MULTIPART, 'form-data; name="f"; filename="/../..\\"', ""),
        (MULTIPART, 'form-data; name="f"; filename="\x80\xff.md"', ""),
        (MULTIPART, "form-data", ""),
        (MULTIPART, "", ""),
        (MULTIPART, NAMED, "Content-Type: \xff\r\n"),
        (MULTIPART, NAMED, "Content-Transfer-Encoding: base64\r\n"),
        (MULTIPART, NAMED, "X: " + "y" * 100_000 + "\r\n"),
        (MULTIPART, NAMED, "X: y\r\n" * 10_000),
        (f"{MULTIPART}; charset=idna", 'form-data; name="\xff..x"; filename="a..md"', ""),
        (f"{MULTIPART}; charset=hex", NAMED, ""),
        (f"{MULTIPART}; charset=utf-16", NAMED, ""),
        (f"{MULTIPART}; charset=unicode_escape", 'form-data; name=f; filename="\\ud800"', ""),
        ("multipart/form-data; boundary=" + "b" * 5000, NAMED, ""),
        ('multipart/form-data; boundary=""', NAMED, ""),
        ("multipart/form-data; boundary*=utf-8''%E2%82%AC", NAMED, ""),
    ],
)
async def test_strange_multipart_is_never_a_5xx(
    client: httpx2.AsyncClient, content_type: str, disposition: str, more: str
) -> None:
    part = f"--b\r\nContent-Disposition: {disposition}\r\n{more}\r\nhello\r\n--b--\r\n"
    headers = {"Content-Type": content_type}
    response = await client.post(DOCUMENTS, content=part.encode("latin-1"), headers=headers)
    if response.status_code != 202:
        assert response.status_code < 500, response.text
        check_problem(response, response.status_code, response.json()["code"])


PART = 'Content-Disposition: form-data; name="f"; filename="%s.md"\r\n\r\nhello'
WHOLE = f"--b\r\n{PART % 'whole'}\r\n--b\r\n{PART % 'last'}\r\n--b--\r\n".encode()


@pytest.mark.parametrize("length", [*range(70, len(WHOLE) - 3, 7), len(WHOLE) - 3])
async def test_a_form_that_breaks_off_is_refused_whole(
    world: World, client: httpx2.AsyncClient, length: int
) -> None:
    headers = {"Content-Type": MULTIPART}
    response = await client.post(DOCUMENTS, content=WHOLE[:length], headers=headers)
    check_problem(response, 400, "malformed_body")
    assert not world.documents.records
    whole = await client.post(DOCUMENTS, content=WHOLE, headers=headers)
    assert [item["title"] for item in whole.json()["items"]] == ["whole", "last"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["message", "title", "text", "metadata", "documents", "name", "filters"]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(
    value=ANYTHING, path=st.sampled_from([CHAT, STREAM, DOCUMENTS, "/api/agents", "/api/retrieve"])
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_no_json_is_ever_a_5xx(client: httpx2.AsyncClient, value: Any, path: str) -> None:
    response = await client.post(path, content=json.dumps(value), headers=JSON)
    assert response.status_code < 500, response.text
