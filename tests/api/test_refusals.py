"""What a wrong request is told: each field by the name that its caller wrote, in plain words."""

from typing import Any

import httpx2
import pytest

from app.api.problems import PATTERNS
from tests.support.api_fakes import RUN, World, client_of

CHAT = "/api/agents/1/chat"
DOCUMENTS = "/api/portfolios/1/documents"
EVENTS = f"/api/runs/{RUN}/events"
CACHE = "/api/admin/cache"
VISIBLE = "must have visible ASCII characters only, and no spaces"
FILTER = "must be a text of at most 1,000 characters, a number, true, false or null"


def told(response: httpx2.Response) -> list[tuple[str, str]]:
    assert (response.status_code, response.json()["code"]) == (422, "invalid_input"), response.text
    return [(error["field"], error["message"]) for error in response.json()["errors"]]


@pytest.mark.parametrize(
    ("method", "path", "unknown", "known"),
    [
        ("DELETE", f"{CACHE}?agent=1", "agent", "known are agent_id, portfolio_id"),
        ("DELETE", f"{CACHE}?Agent_id=1", "Agent_id", "known are agent_id, portfolio_id"),
        ("DELETE", f"{CACHE}?agent_id=1&x", "x", "known are agent_id, portfolio_id"),
        ("POST", f"{DOCUMENTS}?wiat=true", "wiat", "known are wait"),
    ],
)
async def test_a_query_parameter_that_a_call_does_not_know_is_refused(
    world: World, client: httpx2.AsyncClient, method: str, path: str, unknown: str, known: str
) -> None:
    refused = await client.request(method, path)
    assert told(refused) == [(unknown, f"is not a query parameter of this call; {known}")]
    assert not world.cache.dropped
    assert not world.invalidation.raised


async def test_what_is_refused_is_told_to_callers_only(world: World) -> None:
    async with client_of(world, Authorization="Bearer wrong") as client:
        for path in ("/api/documents/1_0", f"{EVENTS}?after=1_0"):
            assert (await client.get(path)).status_code == 401
        assert (await client.delete(f"{CACHE}?agent=1")).status_code == 401


async def test_who_only_reads_may_ask_with_whatever_he_likes(client: httpx2.AsyncClient) -> None:
    for path in ("/healthz", "/api/agents", "/api/agents/1"):
        assert (await client.get(f"{path}?at=1767225600")).status_code == 200


@pytest.mark.parametrize("written", ["1_0", "1.0", "%2B1", "%201", "1%20", "%D9%A1", "1e0", "one"])
async def test_a_number_has_ascii_digits(client: httpx2.AsyncClient, written: str) -> None:
    wrong = "must be an integer"
    for kind in ("agent", "portfolio", "document"):
        assert told(await client.get(f"/api/{kind}s/{written}")) == [(f"{kind}_id", wrong)]
    keyed = await client.post(
        f"/api/agents/{written}/chat", json={"message": "hi"}, headers={"Idempotency-Key": "a"}
    )
    assert told(keyed) == [("agent_id", wrong)]
    asked = await client.post(f"/api/agents/{written}/chat", json={"message": "hi"})
    assert told(asked) == [("agent_id", wrong)]
    for name in ("agent_id", "portfolio_id"):
        assert told(await client.delete(f"{CACHE}?{name}={written}")) == [(name, wrong)]
    assert told(await client.get(f"/api/agents?limit={written}")) == [("limit", wrong)]
    assert told(await client.get(f"/api/admin/usage?days={written}")) == [("days", wrong)]
    assert told(await client.get(f"{EVENTS}?after={written}")) == [("after", wrong)]


@pytest.mark.parametrize("written", [b"1_0", b"1.0", b"+1", b"x", b"", b"\xb2", b"\xd9\xa1"])
async def test_an_event_s_number_has_ascii_digits(
    client: httpx2.AsyncClient, written: bytes
) -> None:
    refused = await client.get(EVENTS, headers=[(b"Last-Event-ID", written)])
    assert told(refused) == [("Last-Event-ID", "must be an integer")]


async def test_numbers_as_they_were(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/api/agents/1")).status_code == 200
    assert (await client.get("/api/agents/01")).status_code == 200
    assert (await client.get("/api/agents/-1")).status_code == 404
    below = await client.get(EVENTS, headers={"Last-Event-ID": "-1"})
    assert told(below) == [("Last-Event-ID", "should be greater than or equal to 0")]


@pytest.mark.parametrize(
    ("method", "path", "request_", "expected"),
    [
        ("DELETE", f"{CACHE}?agent_id={'9' * 5000}", {}, "agent_id: is an integer of too many"),
        ("GET", "/api/agents?after=", {}, "after: must have at least 1 character"),
        ("GET", "/api/agents?after=a%20b", {}, f"after: {VISIBLE}"),
        ("GET", f"/api/agents?after={'x' * 501}", {}, "after: must have at most 500 characters"),
        ("GET", "/api/admin/audit?subject=a%20b", {}, f"subject: {VISIBLE}"),
        ("GET", "/api/admin/audit?action=", {}, "action: must have at least 1 character"),
        ("POST", DOCUMENTS + "?wait=maybe", {}, "wait: must be true or false"),
        ("POST", CHAT, {"filters": {"a": {"b": 1}}}, f"filters.a: {FILTER}"),
        ("POST", CHAT, {"filters": {"a": ["b"]}}, f"filters.a: {FILTER}"),
        ("POST", CHAT, {"filters": {"a": "x" * 1001}}, f"filters.a: {FILTER}"),
        (
            "POST",
            CHAT,
            {"filters": {"": "b"}},
            "filters: must have fields with names of 1 to 100 characters",
        ),
        (
            "POST",
            CHAT,
            {"filters": {"x" * 101: "b"}},
            "filters: must have fields with names of 1 to 100 characters",
        ),
        (
            "POST",
            CHAT,
            {"filters": {str(i): i for i in range(21)}},
            "filters: must have at most 20 fields",
        ),
        ("POST", CHAT, {"filters": []}, "filters: must be a JSON object"),
        (
            "PATCH",
            "/api/users/1",
            {"sign_out_everywhere": False},
            "sign_out_everywhere: must be true",
        ),
        ("PATCH", "/api/users/1", {"disabled": 1}, "disabled: must be true or false"),
        (
            "POST",
            "/api/keys",
            {"name": "a", "portfolio_ids": []},
            "portfolio_ids: must have at least 1 item",
        ),
        (
            "POST",
            "/api/keys",
            {"name": "a", "expires_at": "2030-01-31T12:00:00"},
            "expires_at: must name its zone, as in 2030-01-31T12:00:00Z",
        ),
        (
            "POST",
            "/api/keys",
            {"name": "a", "expires_at": "2030-13-31T12:00:00Z"},
            "expires_at: must be a time such as 2030-01-31T12:00:00Z",
        ),
        (
            "PATCH",
            "/api/portfolios/1",
            {"readers": ["x"]},
            "readers[0]: must be a subject such as user:1 or key:1",
        ),
        (
            "PATCH",
            "/api/portfolios/1",
            {"readers": ["user:1"] * 1001},
            "readers: must have at most 1,000 items",
        ),
    ],
)
async def test_a_wrong_field_has_one_plain_sentence(
    client: httpx2.AsyncClient, method: str, path: str, request_: dict[str, Any], expected: str
) -> None:
    sent = {"message": "hi", **request_} if path == CHAT else request_
    refused = await client.request(method, path, json=sent if method != "GET" else None)
    [(field, message)] = told(refused)
    assert f"{field}: {message}".startswith(expected)
    assert refused.json()["detail"] == f"{field}: {message}."


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"", "must have at least 1 character"),
        (b"x" * 256, "must have at most 255 characters"),
        (b"a b", VISIBLE),
        (b"\xe9", VISIBLE),
    ],
)
async def test_a_wrong_idempotency_key_has_one_plain_sentence(
    client: httpx2.AsyncClient, key: bytes, expected: str
) -> None:
    headers = [(b"Idempotency-Key", key), (b"Content-Type", b"application/json")]
    refused = await client.post(CHAT, content=b'{"message": "hi"}', headers=headers)
    assert told(refused) == [("Idempotency-Key", expected)]


async def test_every_pattern_of_the_document_has_its_sentence(client: httpx2.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).text
    patterns = {part.partition('"')[0] for part in described.split('"pattern":"')[1:]}
    assert r"^(user|key):[1-9][0-9]{0,17}$" in patterns
    # A key's is checked by its own sentence, which never names the value.
    assert patterns - {"^[!-~]*$"} <= set(PATTERNS)


WRONG_FILES: list[tuple[str, bytes, int, str, str]] = [
    ("b.md", b"a\xff", 422, "invalid_encoding", "The file is not UTF-8 at byte 1"),
    ("b.md", b"\xff\xfea\0", 422, "invalid_encoding", "The file is UTF-16"),
    ("b.md", b"", 422, "empty_document", "The document has no text"),
    ("b.md", "\u200b".encode(), 422, "empty_document", "The document has no text"),
    ("b.md", "\ufeff".encode(), 422, "empty_document", "The document has no text"),
    ("b.md", b"a\0b", 422, "invalid_text", "The text has a NUL character"),
    ("b.md", b"%PDF-1.7", 415, "unsupported_media_type", "The file is a PDF"),
    ("b.exe", b"text", 415, "unsupported_media_type", "Files of this type"),
    ("b.json", b"{", 422, "malformed_document", "The file is not valid JSON"),
    ("b.json", b'{"title": "a"}', 422, "malformed_document", "The document needs a `text`"),
    ("b.json", b"[]", 422, "empty_document", "The file has no documents"),
    ("b.jsonl", b'{"title": "a", "text": "b"}\n{', 422, "malformed_document", "Line 2 is not"),
]


@pytest.mark.parametrize(("name", "data", "status", "code", "words"), WRONG_FILES)
async def test_of_several_files_the_wrong_one_is_named(
    world: World,
    client: httpx2.AsyncClient,
    name: str,
    data: bytes,
    status: int,
    code: str,
    words: str,
) -> None:
    files = [("f", ("a.md", b"Right.")), ("f", (name, data)), ("f", ("c.md", b"Right, too."))]
    response = await client.post(DOCUMENTS, files=files)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["detail"].startswith(f"File 2 (“{name}”): {words}")
    assert not world.documents.records


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../añ o.pdf".encode(), "File 1 (“../añ o.pdf”): "),
        (b"\x1b[2J\xe2\x80\xae.pdf", "File 1 (“�[2J�.pdf”): "),
        (b"n" * 3000, f"File 1 (“{'n' * 100}”): "),
        (b"", "File 1: "),
    ],
)
async def test_a_file_s_name_is_shown_safely(
    client: httpx2.AsyncClient, name: bytes, shown: str
) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="' + name + b'"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    content = head + b"%PDF-1.7\r\n--b--\r\n"
    refused = await client.post(DOCUMENTS, content=content, headers=headers)
    assert refused.status_code == 415, refused.text
    assert refused.json()["detail"].startswith(shown)


@pytest.mark.parametrize("text", ["\u200b", "\ufeff", " \u200b\n\u00ad"])
async def test_a_document_needs_a_visible_character(client: httpx2.AsyncClient, text: str) -> None:
    sent = {"documents": [{"title": "a", "text": text}]}
    refused = await client.post(DOCUMENTS, json=sent)
    assert (refused.status_code, refused.json()["code"]) == (422, "empty_document")
