"""Signing in and out over HTTP, and what a cookie alone does not do."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from http.cookies import Morsel, SimpleCookie
from typing import Any

import httpx2
import pytest

from app.identity.claims import Names
from app.identity.issuing import issue
from tests.support.live import Live, live_service, unique

SESSION = "/api/session"
COOKIE = "citestream_session"
SECRET = "a secret of this test's own, long enough"
ISSUER = AUDIENCE = "citestream"


@pytest.fixture(scope="module")
async def signing(connections: dict[str, Any]) -> AsyncIterator[Live]:
    """A service that takes tokens of its own."""
    async with live_service(**connections, auth={"secret": SECRET, "session_hours": 1}) as service:
        yield service


@pytest.fixture
async def owner(signing: Live) -> AsyncIterator[Live]:
    """The service as a new tenant's owner sees it."""
    key = await signing.services.credentials.create(unique("tenant"), "first")
    async with signing.with_key(key) as owner:
        yield owner


@pytest.fixture
async def visitor(signing: Live) -> AsyncIterator[Live]:
    """A browser that nobody has signed in with."""
    async with httpx2.AsyncClient(base_url=signing.url, trust_env=False) as http:
        yield replace(signing, http=http)


async def new_key(owner: Live, **values: Any) -> Any:
    body = {"name": "laptop", "role": "member", **values}
    return await owner.json("POST", "/api/keys", 201, json=body)


async def sign_in(visitor: Live, credential: str) -> httpx2.Response:
    response = await visitor.http.post(SESSION, json={"credential": credential})
    assert response.status_code == 200, response.text
    return response


def cookie_of(response: httpx2.Response) -> Morsel[str]:
    return SimpleCookie(response.headers["set-cookie"])[COOKIE]


async def test_a_key_signs_in_and_out(owner: Live, visitor: Live) -> None:
    key = await new_key(owner)
    response = await sign_in(visitor, f" {key['key']}\n")
    assert key["key"] not in response.text and response.headers["cache-control"] == "no-store"
    session = response.json()
    assert (session["subject"], session["role"]) == (f"key:{key['id']}", "member")
    assert (session["name"], session["by"]) == ("laptop", "session")
    assert await visitor.json("GET", SESSION) == session
    await visitor.json("GET", "/api/users", 403)

    changing = {"X-CSRF-Token": session["csrf_token"]}
    token = visitor.http.cookies[COOKIE]
    signed_out = await visitor.http.delete(SESSION, headers=changing)
    assert signed_out.status_code == 204
    assert cookie_of(signed_out)["max-age"] == "0" and COOKIE not in visitor.http.cookies
    visitor.http.cookies[COOKIE] = token  # somebody who has copied it
    await visitor.json("GET", "/api/agents", 401)
    await owner.json("GET", f"/api/keys/{key['id']}")


async def test_the_cookie_is_for_this_site_and_no_script(owner: Live, visitor: Live) -> None:
    key = (await new_key(owner))["key"]
    cookie = cookie_of(await sign_in(visitor, key))
    assert cookie["httponly"] and cookie["samesite"] == "strict" and cookie["path"] == "/"
    assert not cookie["domain"] and not cookie["secure"]
    assert 3500 < int(cookie["max-age"]) <= 3600
    behind_tls = await visitor.http.post(
        SESSION, json={"credential": key}, headers={"X-Forwarded-Proto": "https"}
    )
    assert cookie_of(behind_tls)["secure"]


@pytest.mark.parametrize("kind", ["wrong key", "session", "expired token", "empty", "no text"])
async def test_what_is_no_credential_signs_nobody_in(owner: Live, visitor: Live, kind: str) -> None:
    await sign_in(visitor, (await new_key(owner))["key"])
    credential: Any = {
        "wrong key": "cs_" + "x" * 43,
        "session": visitor.http.cookies[COOKIE],
        "expired token": token("a@example.com", seconds=-3600),
        "empty": "",
        "no text": 7,
    }[kind]
    visitor.http.cookies.clear()
    refused = await visitor.http.post(SESSION, json={"credential": credential})
    assert refused.status_code == (422 if kind in ("empty", "no text") else 401)
    assert "set-cookie" not in refused.headers
    assert not isinstance(credential, str) or not credential or credential not in refused.text


async def test_a_token_signs_its_user_in(owner: Live, visitor: Live) -> None:
    email = f"{unique('ada')}@example.com"
    user = await owner.json("POST", "/api/users", 201, json={"email": email, "name": "Ada"})
    session = (await sign_in(visitor, token(email))).json()
    assert (session["subject"], session["name"]) == (f"user:{user['id']}", "Ada")
    await owner.json("PATCH", f"/api/users/{user['id']}", json={"sign_out_everywhere": True})
    await visitor.json("GET", "/api/agents", 401)
    refused = await visitor.http.post(SESSION, json={"credential": token(email, seconds=600)})
    assert refused.status_code == 401  # it was made before that


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_signs_nobody_in(
    owner: Live, visitor: Live, headers: dict[str, str]
) -> None:
    body = {"credential": (await new_key(owner))["key"]}
    refused = await visitor.http.post(SESSION, json=body, headers=headers)
    assert refused.status_code == 403 and "set-cookie" not in refused.headers
    own = {"Origin": visitor.url, "Sec-Fetch-Site": "same-origin"}
    assert (await visitor.http.post(SESSION, json=body, headers=own)).status_code == 200


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", None])
async def test_a_form_signs_nobody_in(owner: Live, visitor: Live, kind: str | None) -> None:
    content = b'{"credential": "%b"}' % (await new_key(owner))["key"].encode()
    headers = {} if kind is None else {"Content-Type": kind}
    refused = await visitor.http.post(SESSION, content=content, headers=headers)
    assert refused.status_code == 415


async def test_a_change_by_cookie_needs_the_pages_own_token(owner: Live, visitor: Live) -> None:
    key = (await new_key(owner, role="owner"))["key"]
    first = (await sign_in(visitor, key)).json()["csrf_token"]
    second = (await sign_in(visitor, key)).json()["csrf_token"]
    assert first != second
    agent = (await visitor.json("GET", "/api/agents"))["items"]  # reading needs none
    assert agent == []
    body = {"name": unique("agent")}
    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": first}, {"X-CSRF-Token": second[:-1]}):
        refused = await visitor.http.post("/api/agents", json=body, headers=wrong)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await visitor.http.delete(SESSION, headers=wrong)).status_code == 403
    right = {"X-CSRF-Token": second}
    made = await visitor.json("POST", "/api/agents", 201, json=body, headers=right)
    for path in ("chat", "chat/stream"):
        call = f"/api/agents/{made['id']}/{path}"
        assert (await visitor.http.post(call, json={"message": "hi"})).status_code == 403
        asked = await visitor.http.post(call, json={"message": "hi"}, headers=right)
        assert asked.status_code == 200


async def test_a_session_is_no_bearer_and_a_key_no_cookie(owner: Live, visitor: Live) -> None:
    key = (await new_key(owner))["key"]
    await sign_in(visitor, key)
    async with visitor.with_key(visitor.http.cookies[COOKIE]) as stolen:
        await stolen.json("GET", "/api/agents", 401)
    visitor.http.cookies.clear()
    visitor.http.cookies[COOKIE] = key
    await visitor.json("GET", "/api/agents", 401)


async def test_a_session_ends_with_its_key(owner: Live, visitor: Live) -> None:
    key = await new_key(owner)
    await sign_in(visitor, key["key"])
    await visitor.json("GET", "/api/agents")
    await owner.json("DELETE", f"/api/keys/{key['id']}", 204)
    await visitor.json("GET", "/api/agents", 401)


@pytest.mark.parametrize("change", [{"disabled": True}, {"sign_out_everywhere": True}, None])
async def test_a_session_ends_with_its_user(
    owner: Live, visitor: Live, change: dict[str, Any] | None
) -> None:
    user = await owner.json("POST", "/api/users", 201, json={"email": "a@example.com"})
    key = await new_key(owner, user_id=user["id"])
    await sign_in(visitor, key["key"])
    path = f"/api/users/{user['id']}"
    if change is None:
        await owner.json("DELETE", path, 204)
    else:
        await owner.json("PATCH", path, json=change)
    await visitor.json("GET", "/api/agents", 401)


async def test_a_cookie_that_is_good_no_more_is_taken_back(owner: Live, visitor: Live) -> None:
    """Else a browser would be refused for it where nobody needs any."""
    key = await new_key(owner)
    await sign_in(visitor, key["key"])
    await owner.json("DELETE", f"/api/keys/{key['id']}", 204)
    refused = await visitor.http.get(SESSION)
    assert refused.status_code == 401 and cookie_of(refused)["max-age"] == "0"
    assert (await visitor.json("GET", SESSION))["by"] == "loopback"


async def test_everybody_is_told_who_he_is(owner: Live, visitor: Live) -> None:
    keyed = await owner.json("GET", SESSION)
    assert (keyed["by"], keyed["csrf_token"], keyed["role"]) == ("key", None, "owner")
    email = f"{unique('ada')}@example.com"
    await owner.json("POST", "/api/users", 201, json={"email": email})
    async with visitor.with_key(token(email)) as ada:
        described = await ada.json("GET", SESSION)
        assert (described["by"], described["name"]) == ("token", email)
        assert described["tenant"] == keyed["tenant"]
        assert (await ada.http.delete(SESSION)).status_code == 204
        await ada.json("GET", SESSION)
    alone = await visitor.json("GET", SESSION)
    assert (alone["by"], alone["subject"], alone["tenant"]) == ("loopback", "owner", "default")


async def test_sessions_are_nobodys_keys(owner: Live, visitor: Live) -> None:
    key = await new_key(owner)
    await sign_in(visitor, key["key"])
    listed = (await owner.json("GET", "/api/keys"))["items"]
    assert sorted(each["name"] for each in listed) == ["first", "laptop"]


async def test_a_wrong_key_beside_it_signs_nobody_in(owner: Live, visitor: Live) -> None:
    body = {"credential": (await new_key(owner))["key"]}
    async with visitor.with_key("cs_wrong") as wrong:
        assert (await wrong.http.post(SESSION, json=body)).status_code == 401


def token(email: str, seconds: int = 3600) -> str:
    return issue(
        SECRET,
        email,
        None,
        issuer=ISSUER,
        audience=AUDIENCE,
        names=Names("email", "tenant"),
        now=int(time.time()),
        seconds=seconds,
    )


async def test_signing_in_is_counted_like_every_request(connections: dict[str, Any]) -> None:
    limits = {"key": {"requests_per_minute": 2}}
    async with live_service(**connections, limits=limits) as service:
        body = {"credential": await service.services.credentials.create(unique("tenant"), "k")}
        asked = [await service.http.post(SESSION, json=body) for _ in range(3)]
    assert [each.status_code for each in asked] == [200, 200, 429]
    assert "set-cookie" not in asked[2].headers
