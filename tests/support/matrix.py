"""Every route of the OpenAPI document, and what each kind of caller gets of somebody's objects.

A case is one request with real ids of the owner's objects in it. What others are told of them is
the same as of ids that never were.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Any
Operation = tuple[str, str]  # method, path
Place = tuple[str, str, str]  # method, path, where an id stands


@dataclass(frozen=True)
class Objects:
    """What one tenant has: all of it the owner's, in a portfolio that the ally may not read."""

    agent_id: int
    portfolio_id: int
    document_id: int
    conversation_id: str
    run_id: str
    user_id: int
    key_id: int


@dataclass(frozen=True)
class Case:
    """`path` and the rest are filled with the objects' ids; `{own_agent_id}` is one that the caller
    may use. `ids` names the places of ids that this request tries."""

    method: str
    path: str
    ids: Sequence[str]
    owner: int
    ally: int
    stranger: int
    anonymous: int = 401
    revoked: int = 401
    body: Callable[[Objects], Json] | None = None
    query: Callable[[Objects], Mapping[str, Any]] | None = None
    route: str = ""
    files: Any = None

    @property
    def operation(self) -> Operation:
        return self.method, self.route or self.path


QUESTION = {"message": "Who finished the Atlas dashboard?"}
AGENT, PORTFOLIO = "/api/agents/{agent_id}", "/api/portfolios/{portfolio_id}"
DOCUMENTS, DOCUMENT = f"{PORTFOLIO}/documents", "/api/documents/{document_id}"
CONVERSATION, RUN = "/api/conversations/{conversation_id}", "/api/runs/{run_id}"
USER, KEY = "/api/users/{user_id}", "/api/keys/{key_id}"
OWN = "/api/agents/{own_agent_id}"
TEXT = {"title": "Borea", "text": "Borea was finished in 2019."}


def mine(method: str, path: str, status: int, **more: Any) -> Case:
    """An object that only its owner has: it does not exist for anybody else."""
    return Case(method, path, ids_in(path), status, 404, 404, **more)


def administered(method: str, path: str, status: int, **more: Any) -> Case:
    """What a member may not do, and a stranger does not find."""
    return Case(method, path, ids_in(path), status, 403, 404, **more)


def ids_in(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def asked(path: str, name: str) -> list[Case]:
    """An id in a question's body, to an agent of one's own."""
    return [
        Case("POST", OWN + path, [name], 200, 404, 404, route=AGENT + path,
             body=lambda o: {**QUESTION, name: getattr(o, name)})
    ]  # fmt: skip


def everybody(path: str) -> Case:
    return Case("GET", path, [], 200, 200, 200, anonymous=200, revoked=200)


CASES: Sequence[Case] = (
    mine("POST", f"{AGENT}/chat", 200, body=lambda _: QUESTION),
    mine("POST", f"{AGENT}/chat/stream", 200, body=lambda _: QUESTION),
    *asked("/chat", "portfolio_id"),
    *asked("/chat/stream", "portfolio_id"),
    Case("POST", f"{AGENT}/chat", ["conversation_id"], 200, 404, 404,
         body=lambda o: {**QUESTION, "conversation_id": o.conversation_id}),
    Case("POST", f"{OWN}/chat", ["conversation_id"], 404, 404, 404, route=f"{AGENT}/chat",
         body=lambda o: {**QUESTION, "conversation_id": o.conversation_id}),
    Case("POST", f"{OWN}/chat/stream", ["conversation_id"], 404, 404, 404,
         route=f"{AGENT}/chat/stream",
         body=lambda o: {**QUESTION, "conversation_id": o.conversation_id}),
    mine("GET", f"{RUN}/events", 200),
    mine("POST", f"{RUN}/cancel", 200),
    Case("POST", "/api/retrieve", ["portfolio_id"], 200, 404, 404,
         body=lambda o: {"query": "Atlas", "portfolio_id": o.portfolio_id}),
    Case("GET", "/api/agents", [], 200, 200, 200),
    Case("POST", "/api/agents", ["portfolio_id"], 201, 403, 404,
         body=lambda o: {"name": "new", "portfolio_id": o.portfolio_id}),
    Case("POST", "/api/agents", ["persona_portfolio_id"], 201, 403, 404,
         body=lambda o: {"name": "newer", "persona_portfolio_id": o.portfolio_id}),
    mine("GET", AGENT, 200),
    administered("PATCH", AGENT, 200, body=lambda _: {"description": "Changed."}),
    Case("PATCH", OWN, ["portfolio_id"], 200, 403, 404, route=AGENT,
         body=lambda o: {"portfolio_id": o.portfolio_id}),
    Case("PATCH", OWN, ["persona_portfolio_id"], 200, 403, 404, route=AGENT,
         body=lambda o: {"persona_portfolio_id": o.portfolio_id}),
    administered("DELETE", AGENT, 204),
    Case("GET", "/api/portfolios", [], 200, 200, 200),
    Case("POST", "/api/portfolios", ["readers", "writers"], 201, 403, 422,
         body=lambda o: {"name": "new", "readers": [f"user:{o.user_id}"],
                         "writers": [f"key:{o.key_id}"]}),
    mine("GET", PORTFOLIO, 200),
    administered("PATCH", PORTFOLIO, 200, body=lambda _: {"description": "Changed."}),
    Case("PATCH", PORTFOLIO, ["readers", "writers"], 200, 403, 404,
         body=lambda o: {"readers": [], "writers": [f"user:{o.user_id}"]}),
    administered("DELETE", PORTFOLIO, 204),
    mine("GET", DOCUMENTS, 200),
    mine("POST", DOCUMENTS, 202, body=lambda _: {"documents": [TEXT]}),
    mine("GET", DOCUMENT, 200),
    mine("DELETE", DOCUMENT, 204),
    Case("GET", "/api/conversations", [], 200, 200, 200),
    mine("GET", CONVERSATION, 200),
    mine("DELETE", CONVERSATION, 204),
    Case("DELETE", "/api/admin/cache", ["agent_id"], 200, 403, 404,
         query=lambda o: {"agent_id": o.agent_id}),
    Case("DELETE", "/api/admin/cache", ["portfolio_id"], 200, 403, 404,
         query=lambda o: {"portfolio_id": o.portfolio_id}),
    Case("GET", "/api/admin/stats", [], 200, 403, 200),
    Case("GET", "/api/admin/audit", [], 200, 403, 200),
    Case("GET", "/api/admin/usage", [], 200, 403, 200),
    Case("GET", "/api/users", [], 200, 403, 200),
    Case("POST", "/api/users", [], 201, 403, 201,
         body=lambda _: {"email": "new@example.com", "role": "member"}),
    administered("GET", USER, 200),
    administered("PATCH", USER, 200, body=lambda _: {"name": "Changed"}),
    administered("DELETE", USER, 204),
    Case("GET", "/api/keys", [], 200, 403, 200),
    Case("POST", "/api/keys", ["user_id"], 201, 403, 404,
         body=lambda o: {"name": "new", "role": "member", "user_id": o.user_id}),
    Case("POST", "/api/keys", ["portfolio_ids"], 201, 403, 404,
         body=lambda o: {"name": "new", "role": "member", "portfolio_ids": [o.portfolio_id]}),
    administered("GET", KEY, 200),
    administered("DELETE", KEY, 204),
    Case("GET", "/api/session", [], 200, 200, 200),
    Case("POST", "/api/session", [], 401, 401, 401,
         body=lambda _: {"credential": "cs_no_such_key"}),
    Case("DELETE", "/api/session", [], 204, 204, 204),
    everybody("/healthz"),
    everybody("/readyz"),
)  # fmt: skip


@dataclass(frozen=True)
class Gaps:
    """What the cases leave out of an OpenAPI document, or have too much."""

    operations: set[Operation] = field(default_factory=set)
    places: set[Place] = field(default_factory=set)


def gaps(document: Json, cases: Sequence[Case]) -> Gaps:
    """Operations, and places of ids in path, query and body, that no case tries; and the other way
    round."""
    operations, places = set(), set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operations.add((method.upper(), path))
            places |= {(method.upper(), path, name) for name in _names(operation)}
    tried = {(*case.operation, name) for case in cases for name in case.ids}
    return Gaps(operations ^ {case.operation for case in cases}, places ^ tried)


def _names(operation: Json) -> set[str]:
    """Of ids: by how they are called."""
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        names |= set(content["schema"].get("properties", ()))
    return {name for name in names if name.endswith(("_id", "_ids")) or name in LISTS}


LISTS = ("readers", "writers")
