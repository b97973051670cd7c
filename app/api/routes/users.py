"""Administration of a tenant's people."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from app.api.auth import Administrator
from app.api.body import json_body_of_administrator
from app.api.identity_shapes import UserBody, UserChange, UserJson, UsersJson, user_json
from app.api.jsonbytes import Json
from app.api.params import DEFAULT_LIMIT, After, Id, Limit
from app.api.schemas import request_body
from app.api.services import services_of
from app.api.wire import page_json

router = APIRouter(prefix="/api/users", tags=["users"])


@router.get("", responses={200: {"model": UsersJson}})
async def list_users(
    request: Request, caller: Administrator, limit: Limit = DEFAULT_LIMIT, after: After = None
) -> Json:
    """The tenant's users, a page at a time."""
    page = await services_of(request).users.list(caller, limit, after)
    return Json(page_json(page, user_json))


@router.post(
    "",
    status_code=201,
    openapi_extra=request_body(UserBody),
    responses={201: {"model": UserJson}},
)
async def create_user(
    request: Request,
    caller: Administrator,
    body: Annotated[UserBody, Depends(json_body_of_administrator(UserBody))],
) -> Json:
    """Add a user of at most the caller's role."""
    user = await services_of(request).users.create(caller, body.model_dump())
    return Json(user_json(user), 201, {"Location": f"/api/users/{user.id}"})


@router.get("/{user_id}", responses={200: {"model": UserJson}})
async def show_user(request: Request, user_id: Id, caller: Administrator) -> Json:
    """One user of the tenant."""
    return Json(user_json(await services_of(request).users.get(caller, user_id)))


@router.patch(
    "/{user_id}",
    openapi_extra=request_body(UserChange, partial=True),
    responses={200: {"model": UserJson}},
)
async def change_user(
    request: Request,
    user_id: Id,
    caller: Administrator,
    body: Annotated[UserChange, Depends(json_body_of_administrator(UserChange))],
) -> Json:
    """Set some of a user's fields, disable them, or sign them out everywhere."""
    users = services_of(request).users
    return Json(user_json(await users.update(caller, user_id, body.given())))


@router.delete("/{user_id}", status_code=204, response_class=Response)
async def delete_user(request: Request, user_id: Id, caller: Administrator) -> Response:
    """Remove a user with every key, session and conversation of theirs."""
    await services_of(request).users.delete(caller, user_id)
    return Response(status_code=204)
