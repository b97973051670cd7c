"""Questions to an agent: the whole answer, or the same answer as it is being written."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import StreamingResponse
from pydantic.json_schema import SkipJsonSchema

from app.api.auth import Member
from app.api.body import json_body
from app.api.departure import while_connected
from app.api.jsonbytes import Json
from app.api.limiting import hold, reserving
from app.api.params import Id
from app.api.revocation import Grant
from app.api.schemas import ChatBody, request_body
from app.api.services import services_of
from app.api.shapes import AnswerJson
from app.api.sse import EventStream, event_stream
from app.api.wire import answer_json
from app.chat.elsewhere import AnyRun
from app.chat.model import Claim, Scope
from app.chat.ports import IdempotencyKey
from app.errors import FeatureDisabled

NOT_A_TOKEN = re.compile(r"[^A-Za-z0-9_.-]")

IdempotencyHeader = Annotated[
    str | SkipJsonSchema[None],
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A name for this request: sent again with it, the same request is answered "
        "by the same run.",
    ),
]

router = APIRouter(prefix="/api/agents/{agent_id}/chat", tags=["chat"])
BODY = request_body(ChatBody)
EXAMPLE = (
    'id: 1\ndata: {"type":"start","run_id":"…","conversation_id":"…","message_id":"…"}\n\n'
    'id: 2\ndata: {"type":"sources","sources":[…]}\n\n'
    'id: 3\ndata: {"type":"token","content":"The projects in"}\n\n'
    'id: 4\ndata: {"type":"done","citations":[…],"cached":false,…}\n\n'
)
# OpenAPI 3.1 has no word for a stream: readers of it take the schema for one event's.
EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "description": "Where a reader goes on with `Last-Event-ID`"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "An object; its `type` is start, sources, token, done or error",
        },
    },
}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; exactly one `done` or `error` ends them",
        "content": {"text/event-stream": {"schema": EVENT, "example": EXAMPLE}},
    }
}


@router.post("", openapi_extra=BODY, responses={200: {"model": AnswerJson}})
async def chat(
    request: Request,
    agent_id: Id,
    caller: Member,
    body: Annotated[ChatBody, Depends(json_body(ChatBody))],
    idempotency_key: IdempotencyHeader = None,
) -> Json:
    """Answer a question whole, with its citations."""
    run = await _start(request, caller, agent_id, body, idempotency_key)
    answering = while_connected(request.receive, run.answer())
    answer = await granted(request, caller, run).during(answering)
    return Json(answer_json(answer), headers=server_timing(answer.done.timings_ms))


@router.post("/stream", openapi_extra=BODY, responses=EVENTS, response_class=StreamingResponse)
async def chat_stream(
    request: Request,
    agent_id: Id,
    caller: Member,
    body: Annotated[ChatBody, Depends(json_body(ChatBody))],
    idempotency_key: IdempotencyHeader = None,
) -> EventStream:
    """Answer a question as server-sent events: start, sources, token…, done or error."""
    if not services_of(request).streaming:
        raise FeatureDisabled("Streaming is switched off on this server; use /chat.")
    run = await _start(request, caller, agent_id, body, idempotency_key)
    return await event_stream(request.receive, run, granted(request, caller, run))


def granted(request: Request, caller: Scope | Claim, run: AnyRun) -> Grant:
    """On what the run may be read: the caller's credential, while it has the rights of now."""
    # A claim was looked up with the question.
    scope = run.scope if isinstance(caller, Claim) else caller
    claim = getattr(request.state, "claim", None)
    return services_of(request).revocation.grant(claim, scope)


def server_timing(timings_ms: Mapping[str, float]) -> dict[str, str]:
    """The stages' times as the `Server-Timing` header, which browsers show."""
    stages = (f"{NOT_A_TOKEN.sub('_', name)};dur={ms:.2f}" for name, ms in timings_ms.items())
    value = ", ".join(stages)
    return {"Server-Timing": value} if value else {}


async def _start(
    request: Request, caller: Scope | Claim, agent_id: int, body: ChatBody, key: str | None
) -> AnyRun:
    services = services_of(request)
    limits = services.limits
    run = await services.engine.start(
        caller,
        body.question(agent_id),
        grace_seconds=body.grace_seconds,
        key=IdempotencyKey(key, body.digest(agent_id)) if key else None,
        reserve=None if limits is None else reserving(request, limits),
    )
    if limits is not None:
        hold(request, run, limits)
    return run
