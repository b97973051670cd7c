"""Administration of a tenant's API keys."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from app.api.auth import Administrator
from app.api.body import json_body_of_administrator
from app.api.identity_shapes import KeyBody, KeyJson, KeysJson, NewKeyJson, key_json
from app.api.jsonbytes import Json
from app.api.params import DEFAULT_LIMIT, After, Id, Limit
from app.api.schemas import request_body
from app.api.services import services_of
from app.api.wire import page_json

router = APIRouter(prefix="/api/keys", tags=["users"])


@router.get("", responses={200: {"model": KeysJson}})
async def list_keys(
    request: Request, caller: Administrator, limit: Limit = DEFAULT_LIMIT, after: After = None
) -> Json:
    """The tenant's API keys that are not revoked, a page at a time."""
    page = await services_of(request).keys.list(caller, limit, after)
    return Json(page_json(page, key_json))


@router.post(
    "",
    status_code=201,
    openapi_extra=request_body(KeyBody),
    responses={201: {"model": NewKeyJson}},
)
async def create_key(
    request: Request,
    caller: Administrator,
    body: Annotated[KeyBody, Depends(json_body_of_administrator(KeyBody))],
) -> Json:
    """Make an API key of at most the caller's role. It is shown here and never again."""
    key, secret = await services_of(request).keys.create(caller, body.model_dump())
    headers = {"Location": f"/api/keys/{key.id}", "Cache-Control": "no-store"}
    return Json({**key_json(key), "key": secret}, 201, headers)


@router.get("/{key_id}", responses={200: {"model": KeyJson}})
async def show_key(request: Request, key_id: Id, caller: Administrator) -> Json:
    """One API key, without itself."""
    return Json(key_json(await services_of(request).keys.get(caller, key_id)))


@router.delete("/{key_id}", status_code=204, response_class=Response)
async def revoke_key(request: Request, key_id: Id, caller: Administrator) -> Response:
    """Revoke an API key, with every session that was opened with it."""
    await services_of(request).keys.revoke(caller, key_id)
    return Response(status_code=204)
