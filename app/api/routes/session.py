"""Signing in and out: a cookie that scripts cannot read, for the chat page and others of this site.

Whoever signs in proves it with an API key or a token. What changes something by the cookie needs
the header `X-CSRF-Token` as well (`app.api.auth`).
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Security
from fastapi.responses import Response

from app.api import problems
from app.api.auth import (
    COOKIE,
    Member,
    authenticate,
    claim_of,
    csrf_token,
    described_in_openapi,
    origins_of,
)
from app.api.body import SMALL_BODY_BYTES, parse_json, read_json
from app.api.identity_shapes import SessionJson, SignInBody
from app.api.jsonbytes import Json
from app.api.limiting import count
from app.api.schemas import request_body
from app.api.services import Services, services_of
from app.chat.administration import UNKNOWN
from app.chat.keys import Opened
from app.chat.model import Claim, Scope
from app.errors import Forbidden, Unauthorized

router = APIRouter(prefix="/api/session", tags=["users"])
NO_STORE = {"Cache-Control": "no-store"}


async def _credential(request: Request) -> SignInBody:
    """What somebody signs in with. A page of another site must not sign its visitors in as whom it
    likes: its requests say where they come from. Raises Forbidden."""
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is not None and origin.lower() not in origins_of(host.lower()):
        raise Forbidden("Sign in on this server's own page.")
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise Forbidden("Sign in on this server's own page.")
    if "authorization" in request.headers:  # who presents one means to be someone
        await authenticate(request, None)
    return parse_json(SignInBody, await read_json(request, SMALL_BODY_BYTES))


@router.post("", openapi_extra=request_body(SignInBody), responses={200: {"model": SessionJson}})
async def sign_in(request: Request, body: Annotated[SignInBody, Depends(_credential)]) -> Json:
    """Sign in with an API key or a token: the answer sets the cookie of a session."""
    services = services_of(request)
    try:
        claimed = await claim_of(services, body.credential.strip())
    except Unauthorized as error:  # which speaks of a header
        raise Unauthorized(UNKNOWN) from error
    request.state.claim = claimed  # for the audit log, whatever comes of it
    caller = await services.credentials.resolve(claimed)
    if caller is not None:
        request.state.caller = caller
        if services.limits is not None:
            await count(request, caller, services.limits)
    opened = await services.sessions.open(claimed)
    if opened is None:
        raise Unauthorized(UNKNOWN)
    session = services.credentials.claim(opened.secret)
    response = Json(
        await _described(services, opened.scope, session, opened.secret), headers=NO_STORE
    )
    _set_cookie(response, request, opened)
    return response


@router.get(
    "",
    responses={200: {"model": SessionJson}},
    dependencies=[Security(described_in_openapi)],
)
async def show_session(request: Request) -> Response:
    """Who the caller is, by whichever credential, with the token that changes by a cookie need."""
    try:
        caller = await authenticate(request, None)
    except Unauthorized as error:
        return _without_cookie(request, await problems.told(request, error))
    cookie = None if "authorization" in request.headers else request.cookies.get(COOKIE)
    described = await _described(services_of(request), caller, _claim(request), cookie)
    return Json(described, headers=NO_STORE)


@router.delete("", status_code=204, response_class=Response)
async def sign_out(request: Request, caller: Member) -> Response:
    """Sign out: the session is good for nothing from now on, and its cookie goes."""
    if (claimed := _claim(request)) is not None:
        await services_of(request).sessions.close(caller, claimed)
    return _without_cookie(request, Response(status_code=204))


def _claim(request: Request) -> Claim | None:
    """Of the caller who was authenticated."""
    return getattr(request.state, "claim", None)


async def _described(
    services: Services, scope: Scope, claimed: Claim | None, cookie: str | None
) -> SessionJson:
    holder = await services.sessions.holder(scope, claimed)
    return {
        "subject": scope.subject,
        "role": scope.role,
        "tenant": holder.tenant,
        "name": holder.name,
        "by": _kind(claimed, cookie),
        "csrf_token": csrf_token(cookie) if cookie else None,
        "expires_at": holder.expires_at,
    }


def _kind(
    claimed: Claim | None, cookie: str | None
) -> Literal["session", "key", "token", "loopback"]:
    if claimed is None:
        return "loopback"
    if claimed.key_digest is None:
        return "token"
    return "session" if cookie else "key"


def _set_cookie(response: Response, request: Request, opened: Opened) -> None:
    seconds = int((opened.expires_at - datetime.now(UTC)).total_seconds())
    response.set_cookie(
        COOKIE,
        opened.secret,
        max_age=max(seconds, 1),
        path="/",
        secure=_is_secure(request),
        httponly=True,
        samesite="strict",
    )


def _without_cookie(request: Request, response: Response) -> Response:
    """Also where it is refused: a browser that goes on sending it would be refused where nobody
    needs one."""
    if COOKIE in request.cookies:
        response.delete_cookie(
            COOKIE, path="/", secure=_is_secure(request), httponly=True, samesite="strict"
        )
    return response


def _is_secure(request: Request) -> bool:
    """Whether the browser shall send it over https alone. The scheme is what a trusted proxy says
    where there is one."""
    return services_of(request).secure_cookies or request.url.scheme == "https"
