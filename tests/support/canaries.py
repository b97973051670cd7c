"""Secrets to plant in a service and its requests, and to look for wherever an observer can read.

secrets = Canaries()
…                                   # a service with `secrets.variables(…)`
told = Told()
await provoke(service, secrets, told)
told.add("log", log.read_text())
assert secrets.found(told) == []
"""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpx2

from tests.support.tokens import handmade


def _marked(prefix: str = "", size: int = 12) -> str:
    return f"{prefix}{token_hex(size)}"


def _kms_key() -> str:
    return base64.b64encode(token_hex(16).encode()).decode()


@dataclass(frozen=True)
class Canaries:
    """One of each kind, as it looks in life; none is part of another, or of anything else."""

    database_password: str = field(default_factory=_marked)
    owner_password: str = field(default_factory=_marked)
    redis_password: str = field(default_factory=_marked)
    openai_key: str = field(default_factory=lambda: _marked("sk-proj-"))
    mistral_key: str = field(default_factory=_marked)
    encoder_key: str = field(default_factory=_marked)
    reranker_key: str = field(default_factory=_marked)
    kms_key: str = field(default_factory=_kms_key)
    former_kms_key: str = field(default_factory=_kms_key)
    token_secret: str = field(default_factory=lambda: _marked(size=24))
    agent_key: str = field(default_factory=lambda: _marked("ak-"))
    refused_key: str = field(default_factory=lambda: _marked("ak-"))
    url_password: str = field(default_factory=_marked)
    wrong_api_key: str = field(default_factory=lambda: _marked("cs_", 20))
    wrong_password: str = field(default_factory=_marked)
    wrong_token: str = field(
        default_factory=lambda: handmade({"alg": "none"}, {"email": f"{_marked()}@example.com"})
    )
    wrong_cookie: str = field(default_factory=lambda: _marked("cs_s_", 20))
    in_query: str = field(default_factory=_marked)
    in_path: str = field(default_factory=_marked)
    question: str = field(default_factory=lambda: f"What is the {_marked()} of Atlas?")
    answer: str = field(default_factory=_marked)
    document: str = field(default_factory=lambda: f"The {_marked()} of Atlas is secret.")
    title: str = field(default_factory=_marked)
    prompt: str = field(default_factory=_marked)
    person: str = field(default_factory=lambda: f"ada.{_marked()}@example.com")
    # Made by the service itself, and learnt from its answers.
    given: dict[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """Those that stand in the environment, besides the addresses' (`with_password`)."""
        return {
            "OPENAI_API_KEY": self.openai_key,
            "MISTRAL_API_KEY": self.mistral_key,
            "CITESTREAM_ENCODER__API_KEY": self.encoder_key,
            "CITESTREAM_RERANKER__API_KEY": self.reranker_key,
            "AGENT_KMS_KEY": f"{self.kms_key},{self.former_kms_key}",
            "CITESTREAM_AUTH__SECRET": self.token_secret,
        }

    def named(self) -> Iterator[tuple[str, str]]:
        """Each by its name."""
        for name, value in vars(self).items():
            if name != "given":
                yield name, value
        yield from self.given.items()

    def found(self, told: "Told") -> list[tuple[str, str]]:
        """The names of the secrets, each with the place where it is told."""
        return [
            (name, place)
            for name, secret in self.named()
            for place, text in told.places
            if any(form in text for form in forms(secret))
        ]


@dataclass
class Told:
    """What observers can read, by place."""

    places: list[tuple[str, str]] = field(default_factory=list)

    def add(self, place: str, text: str | bytes) -> None:
        told = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        self.places.append((place, told))

    def add_refusal(self, response: httpx2.Response) -> None:
        """An answer that is an error: its body and its headers."""
        assert response.status_code >= 400, (response.request.url, response.text)
        place = f"{response.status_code} of {response.request.method} {response.request.url.path}"
        self.add(place, f"{response.headers.multi_items()}\n{response.text}")


def forms(secret: str) -> list[str]:
    """As it is, as URLs and JSON have it, in base64, and the part of it that is like no other."""
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    written = [
        secret,
        quote(secret, ""),
        json.dumps(secret)[1:-1],
        encoded[: len(encoded) // 4 * 4],
    ]
    core = max(secret.replace(".", " ").replace("@", " ").split(), key=len)
    return [*dict.fromkeys([*written, core])]


def with_password(address: str, password: str, user: str | None = None) -> str:
    """A server's address with a password in it."""
    parts = urlsplit(address)
    who, _, where = parts.netloc.rpartition("@")
    netloc = f"{user or who}:{password}@{where}"
    return urlunsplit(parts._replace(netloc=netloc))


async def provoke(
    http: httpx2.AsyncClient, key: str, vendor_url: str, secrets: Canaries, told: Told
) -> None:
    """Bring every secret of requests to the service, rightly and wrongly, and note what it tells.

    `key` is an owner's API key, `vendor_url` an OpenAI-like server whose errors echo what they were
    sent, and that the service may reach.
    """
    secrets.given["api_key"] = key
    owner = {"Authorization": f"Bearer {key}"}
    await _refused_credentials(http, secrets, told)
    await _signed_in(http, owner, secrets, told)
    agent = await _administered(http, owner, vendor_url, secrets, told)
    await _asked(http, owner, agent, secrets, told)
    await _observed(http, owner, told)


async def _refused_credentials(http: httpx2.AsyncClient, secrets: Canaries, told: Told) -> None:
    basic = base64.b64encode(f"ada:{secrets.wrong_password}".encode()).decode()
    for headers in (
        {"Authorization": f"Bearer {secrets.wrong_api_key}"},
        {"Authorization": f"Bearer {secrets.wrong_token}"},
        {"Authorization": f"Basic {basic}"},
        {"Authorization": secrets.wrong_password},
        {"Cookie": f"citestream_session={secrets.wrong_cookie}"},
    ):
        for path in ("/api/agents", f"/api/agents/{secrets.in_path}?token={secrets.in_query}"):
            told.add_refusal(await http.get(path, headers=headers))
        body = {"message": secrets.question}
        told.add_refusal(await http.post("/api/agents/1/chat", json=body, headers=headers))
    for credential in (secrets.wrong_api_key, secrets.wrong_token, secrets.wrong_cookie):
        told.add_refusal(await http.post("/api/session", json={"credential": credential}))


async def _signed_in(
    http: httpx2.AsyncClient, owner: Mapping[str, str], secrets: Canaries, told: Told
) -> None:
    """A session and a token that are good, and what becomes of them afterwards."""
    begun = await http.post("/api/session", json={"credential": secrets.given["api_key"]})
    assert begun.status_code == 200, begun.text
    secrets.given["session"] = cookie = begun.cookies["citestream_session"]
    secrets.given["csrf_token"] = csrf = begun.json()["csrf_token"]
    http.cookies.clear()
    with_cookie = {"Cookie": f"citestream_session={cookie}"}
    told.add_refusal(await http.delete("/api/agents/999999", headers=with_cookie))
    ended = await http.delete("/api/session", headers={**with_cookie, "X-CSRF-Token": csrf})
    assert ended.status_code == 204, ended.text
    told.add_refusal(await http.get("/api/agents", headers=with_cookie))
    user = await http.post(
        "/api/users", json={"email": secrets.person, "role": "admin"}, headers=owner
    )
    assert user.status_code == 201, user.text
    now = int(time.time())
    claims = {
        "iss": "citestream",
        "aud": "citestream",
        "iat": now,
        "exp": now + 600,
        "email": secrets.person,
    }
    secrets.given["token"] = token = handmade(
        {"alg": "HS256", "typ": "JWT"}, claims, secrets.token_secret.encode()
    )
    by_token = {"Authorization": f"Bearer {token}"}
    listed = await http.get("/api/agents", headers=by_token)
    assert listed.status_code == 200, listed.text
    path = f"/api/users/{user.json()['id']}"
    assert (await http.patch(path, json={"disabled": True}, headers=owner)).status_code == 200
    told.add_refusal(await http.get("/api/agents", headers=by_token))


async def _administered(
    http: httpx2.AsyncClient,
    owner: Mapping[str, str],
    vendor_url: str,
    secrets: Canaries,
    told: Told,
) -> int:
    """A portfolio with a document and an agent with a key of its own; and what is refused. The
    agent's id."""
    portfolio = await _made(http, "/api/portfolios", {"name": token_hex(8)}, owner)
    document = {"title": secrets.title, "text": secrets.document}
    added = await http.post(
        f"/api/portfolios/{portfolio}/documents?wait=true",
        json={"documents": [document]},
        headers=owner,
    )
    assert added.status_code == 200, added.text
    wrong: list[tuple[str, Any]] = [
        (f"/api/portfolios/{portfolio}/documents", {"documents": [{**document, "uri": 5}]}),
        ("/api/portfolios/999999/documents", {"documents": [document]}),
        ("/api/portfolios", {"name": secrets.title, "readers": secrets.document}),
    ]
    own = {"name": token_hex(8), "provider": "openai", "model": "m", "portfolio_id": portfolio}
    address = with_password(vendor_url, secrets.url_password, "ada")
    wrong += [
        ("/api/agents", {**own, "base_url": address, "api_key": secrets.refused_key}),
        ("/api/agents", {**own, "base_url": vendor_url, "api_key": f"{secrets.refused_key}\n"}),
        ("/api/agents", {**own, "temperature": 9, "api_key": secrets.refused_key}),
        ("/api/keys", {"name": "x", "role": secrets.refused_key}),
    ]
    for path, body in wrong:
        told.add_refusal(await http.post(path, json=body, headers=owner))
    return await _made(
        http,
        "/api/agents",
        {
            **own,
            "name": token_hex(8),
            "system_prompt": secrets.prompt,
            "base_url": vendor_url,
            "api_key": secrets.agent_key,
        },
        owner,
    )


async def _asked(
    http: httpx2.AsyncClient, owner: Mapping[str, str], agent: int, secrets: Canaries, told: Told
) -> None:
    """A question that is answered on both paths, and questions that fail."""
    path, body = f"/api/agents/{agent}/chat", {"message": secrets.question, "cache": "off"}
    answered = await http.post(path, json=body, headers=owner)
    assert answered.status_code == 200, answered.text
    assert secrets.answer in answered.json()["answer"]
    streamed = await http.post(f"{path}/stream", json=body, headers=owner)
    assert secrets.answer in streamed.text
    operators = await _made(
        http, "/api/agents", {"name": token_hex(8), "provider": "mistral"}, owner
    )
    failing = f"/api/agents/{operators}/chat"
    told.add_refusal(await http.post(failing, json=body, headers=owner))
    events = (await http.post(f"{failing}/stream", json=body, headers=owner)).text
    told.add("stream that failed", events)
    for wrong in ({**body, "message": 5}, {**body, "conversation_id": secrets.question}):
        told.add_refusal(await http.post(path, json=wrong, headers=owner))
    told.add_refusal(await http.post(path, content=f"{{{secrets.question}", headers=owner))
    await http.get("/api/agents", params={"token": secrets.in_query}, headers=owner)


async def _observed(http: httpx2.AsyncClient, owner: Mapping[str, str], told: Told) -> None:
    """What the service tells of itself."""
    for path in ("/metrics", "/readyz", "/healthz", "/openapi.json"):
        told.add(path, (await http.get(path)).text)
    for path in ("/api/admin/stats", "/api/admin/usage", "/api/admin/audit?limit=200"):
        response = await http.get(path, headers=owner)
        assert response.status_code == 200, response.text
        told.add(path, response.text)


async def _made(http: httpx2.AsyncClient, path: str, body: Any, headers: Mapping[str, str]) -> int:
    response = await http.post(path, json=body, headers=headers)
    assert response.status_code == 201, response.text
    return int(response.json()["id"])
