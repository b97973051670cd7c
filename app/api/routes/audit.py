"""The audit log, for a tenant's owners."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic.json_schema import SkipJsonSchema

from app.api.audit_shapes import AuditJson, AuditsJson
from app.api.auth import Member
from app.api.jsonbytes import Json
from app.api.params import DEFAULT_LIMIT, After, Limit
from app.api.services import services_of
from app.api.wire import page_json
from app.chat.administration import AuditRecord
from app.chat.model import Scope
from app.errors import Forbidden

router = APIRouter(prefix="/api/admin/audit", tags=["administration"])


async def own(scope: Member) -> Scope:
    """The caller, who is an owner. Raises Forbidden for others, administrators too: the log is
    about them."""
    if scope.role != "owner":
        raise Forbidden("This needs the role owner.")
    return scope


Owner = Annotated[Scope, Depends(own)]
Exactly = Annotated[
    str | SkipJsonSchema[None],
    Query(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$", description="Only its entries."),
]


@router.get("", responses={200: {"model": AuditsJson}})
async def list_entries(
    request: Request,
    caller: Owner,
    limit: Limit = DEFAULT_LIMIT,
    after: After = None,
    subject: Exactly = None,
    action: Exactly = None,
) -> Json:
    """Who did what, to which object, and how it ended; latest first, a page at a time."""
    page = await services_of(request).audit.list(caller, limit, after, subject, action)
    return Json(page_json(page, audit_json))


def audit_json(record: AuditRecord) -> AuditJson:
    return {
        "id": record.id,
        "at": record.at,
        "subject": record.subject,
        "role": record.role,
        "action": record.action,
        "object_kind": record.object_kind,
        "object_id": record.object_id,
        "result": record.result,
        "status": record.status,
        "count": record.count,
        "request_id": record.request_id,
        "address": record.address,
    }
