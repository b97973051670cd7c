"""Runs: attaching to one, stopping one."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic.json_schema import SkipJsonSchema

from app.api.auth import Member
from app.api.departure import while_connected
from app.api.jsonbytes import Json
from app.api.routes.chat import EVENTS, granted
from app.api.services import services_of
from app.api.shapes import StatusJson
from app.api.sse import HEADERS, event_stream, frame
from app.chat.elsewhere import AnyRun
from app.chat.replay import failed
from app.chat.run import Run
from app.errors import EventsGone

MAX_EVENT_ID = 2**31
EventId = Annotated[int, Query(ge=0, le=MAX_EVENT_ID, description="As `Last-Event-ID`.")]
LastEventId = Annotated[
    int | SkipJsonSchema[None],
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=MAX_EVENT_ID,
        description="The `id:` of the last event that was received.",
    ),
]

router = APIRouter(prefix="/api/runs/{run_id}", tags=["chat"])


@router.get(
    "/events",
    responses={**EVENTS, 204: {"description": "The run is over and nothing follows"}},
    response_class=StreamingResponse,
)
async def events(
    request: Request,
    run_id: UUID,
    caller: Member,
    after: EventId = 0,
    last_event_id: LastEventId = None,
) -> Response:
    """Follow a run from its start, or after `Last-Event-ID` (or `?after=`)."""
    position = after if last_event_id is None else last_event_id
    engine = services_of(request).engine
    known = engine.runs.find(caller, run_id)
    finding = engine.find(caller, run_id)
    run: AnyRun = await while_connected(request.receive, finding)
    if isinstance(run, Run) and run.finished and run is not known and position > 0:
        return Response(status_code=204) if position == MAX_EVENT_ID else _gone()
    if not await run.follows(position):
        return Response(status_code=204)
    return await event_stream(request.receive, run, granted(request, caller, run), position)


@router.post(
    "/cancel",
    status_code=202,
    responses={
        202: {"model": StatusJson, "description": "It is being stopped"},
        200: {"model": StatusJson, "description": "It was over already"},
    },
)
async def cancel(request: Request, run_id: UUID, caller: Member) -> Json:
    """Stop a run. What there is of the answer is kept, marked interrupted."""
    run = await services_of(request).engine.find(caller, run_id)
    if run.finished:
        return Json({"status": "finished"})
    run.cancel()
    return Json({"status": "cancelling"}, status_code=202)


def _gone() -> Response:
    """The stream of a run of which the events are not kept: where they were cut is not stored,
    so there is no going on behind one of them. Nothing follows its number, whoever asks again."""
    end = frame(MAX_EVENT_ID, failed(EventsGone()))
    return Response(end, headers=HEADERS, media_type="text/event-stream")
