"""History."""

from functools import partial
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.api.auth import Member, Reader
from app.api.jsonbytes import Json
from app.api.params import DEFAULT_LIMIT, After, Limit
from app.api.services import services_of
from app.api.shapes import ConversationMessagesJson, ConversationsJson
from app.api.wire import conversation_json, conversation_messages_json, page_json

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


@router.get("", responses={200: {"model": ConversationsJson}})
async def list_conversations(
    request: Request, caller: Reader, limit: Limit = DEFAULT_LIMIT, after: After = None
) -> Json:
    """The conversations, latest first, a page at a time."""
    page = await services_of(request).history.list(caller, limit, after)
    return Json(page_json(page, conversation_json))


@router.get("/{conversation_id}", responses={200: {"model": ConversationMessagesJson}})
async def show_conversation(request: Request, conversation_id: UUID, caller: Reader) -> Json:
    """One conversation with its messages, oldest first."""
    found = await services_of(request).history.get(caller, conversation_id)
    return Json(conversation_messages_json(*found))


@router.delete("/{conversation_id}", status_code=204, response_class=Response)
async def delete_conversation(request: Request, conversation_id: UUID, caller: Member) -> Response:
    """Remove a conversation with its messages."""
    services = services_of(request)
    removing = partial(services.history.delete, caller, conversation_id)
    await services.engine.remove(caller, removing, conversation_id=conversation_id)
    return Response(status_code=204)
