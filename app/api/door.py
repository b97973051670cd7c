"""The chat calls' own way in: the same functions as behind their routes, in half of the time.

Routing, dependencies and their bookkeeping take as long for each request as a cached answer does
otherwise. A request that is plainly one of the two calls goes straight to them; whatever is unusual
about one (its method, its path, an `Idempotency-Key`) is left to the routes, which say what is
wrong, and stay the contract.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.api.auth import present
from app.api.body import SMALL_BODY_BYTES, parse_json, read_json
from app.api.routes.chat import chat, chat_stream
from app.api.schemas import ChatBody
from app.chat.model import Claim
from app.chat.model import Scope as Caller
from app.errors import AppError

# Of ids that the database can hold; others are a 404 or a 422 of the routes.
CALL = re.compile(r"/api/agents/([1-9][0-9]{0,17})/chat(/stream)?")


@dataclass(frozen=True, slots=True)
class _Template:
    """What the log and the metrics know a route by."""

    path: str


WHOLE = _Template("/api/agents/{agent_id}/chat")
STREAM = _Template("/api/agents/{agent_id}/chat/stream")


class ChatDoor:
    """Pure ASGI, inside of what gives requests their ids."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = CALL.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if call is None or scope["method"] != "POST" or _has_key(scope):
            await self._app(scope, receive, send)
            return
        scope["route"] = route = STREAM if call[2] else WHOLE
        if "fastapi.telemetry" in scope:  # a trace is made, and no router will name it
            name_span(route.path)
        request = Request(scope, receive, send)
        answering = chat_stream if call[2] else chat
        response = await _response(request, int(call[1]), answering)
        await response(scope, receive, send)


async def _response(
    request: Request, agent_id: int, answering: Callable[..., Awaitable[Response]]
) -> Response:
    try:
        caller, body = await _caller_and_body(request)
        return await answering(request, agent_id, caller, body)
    except (AppError, RequestValidationError) as error:
        return await problems.told(request, error)


async def _caller_and_body(request: Request) -> tuple[Caller | Claim, ChatBody]:
    """Who asks, and what. A credential is looked up with the question."""
    caller = await present(request)
    return caller, parse_json(ChatBody, await read_json(request, SMALL_BODY_BYTES))


def name_span(route: str) -> None:
    span = trace.get_current_span()
    span.update_name(f"POST {route}")
    span.set_attribute("http.route", route)


def _has_key(scope: Scope) -> bool:
    return any(name == b"idempotency-key" for name, _ in scope["headers"])
