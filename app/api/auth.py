"""From a request to the Scope on whose behalf it acts."""

import hashlib
import hmac
import re
from ipaddress import ip_address
from typing import Annotated, TypeVar

from fastapi import Depends, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.limiting import count, is_counted
from app.api.services import Services, services_of
from app.chat.administration import UNKNOWN
from app.chat.keys import SESSION_PREFIX
from app.chat.model import Claim, Scope
from app.errors import AppError, Forbidden, Unauthorized, Unavailable
from app.performance.stages import AUTH

MAX_CREDENTIAL_CHARS = 8192  # of a token; a key has 46
COOKIE = "citestream_session"
CSRF_HEADER = "x-csrf-token"
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
# What proxies tell of whom they ask for; and the protocol that nginx asks in where it was told
# nothing but where to.
FORWARDED = re.compile(r"(x-)?forwarded.*|via|x-real-ip|.*-(client|connecting)-ip")
PROXIES_HTTP = "1.0"
HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]@/\s]+)(?::\d{1,5})?")

described_in_openapi = HTTPBearer(
    auto_error=False,
    description="An API key or a token (JWT); a server that listens on loopback only needs none.",
)
Described = Annotated[HTTPAuthorizationCredentials | None, Security(described_in_openapi)]
Error = TypeVar("Error", bound=Exception)


async def authenticate(request: Request, _: Described) -> Scope:
    """The caller, by whichever credential. Raises Unauthorized without a valid one, Forbidden for a
    page of another site, RateLimited for who asks too often.

    One that is wrong is refused even where none is needed: who presents one means to be someone.
    """
    known: Scope | None = getattr(request.state, "caller", None)
    if known is not None:
        return known
    services = services_of(request)
    claimed = await claim(request)
    if claimed is None:
        scope = await _anonymous(request, services)
    else:
        with services.monitor.track(AUTH):
            found = await services.credentials.resolve(claimed)
        if found is None:
            raise Unauthorized(UNKNOWN)
        scope = found
    request.state.caller = scope
    request.state.unverified = False
    if services.limits is not None:
        await count(request, scope, services.limits)
    return scope


async def present(request: Request) -> Scope | Claim:
    """The caller, whose credential is left to be looked up with what is asked for, in one round
    trip. Raises as `authenticate` does. What is wrong otherwise is told to who is known only
    (`verified`)."""
    claimed = await claim(request)
    if claimed is None:
        return await authenticate(request, None)
    request.state.unverified = True
    return claimed


async def verified(request: Request, error: Error) -> Error | AppError:
    """What may be told of a request that failed: strangers learn nothing but that they are."""
    unverified = getattr(request.state, "unverified", False) and not is_counted(request)
    if not unverified or isinstance(error, Unauthorized | Unavailable):
        return error
    try:
        await authenticate(request, None)
    except AppError as unknown:
        return unknown
    return error


async def claim(request: Request) -> Claim | None:
    """The credential as it was presented, to be looked up together with what it is presented for;
    None for a request without one. Raises Unauthorized for what is no credential, and Forbidden
    for a change by a cookie that its page did not ask for."""
    known: Claim | None = getattr(request.state, "claim", None)
    if known is not None:
        return known
    authorization = request.headers.get("authorization")
    if authorization is not None:
        claimed = await _presented(request, authorization)
    elif cookie := request.cookies.get(COOKIE):
        claimed = _signed_in(request, cookie)
    else:
        return None
    request.state.claim = claimed
    return claimed


async def _presented(request: Request, authorization: str) -> Claim:
    scheme, _space, credential = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized
    return await claim_of(services_of(request), credential.strip())


async def claim_of(services: Services, credential: str) -> Claim:
    """What is to be looked up of an API key or a token. Raises Unauthorized for what is neither."""
    if not 0 < len(credential) <= MAX_CREDENTIAL_CHARS:
        raise Unauthorized
    if credential.count(".") == 2:
        identified = await services.tokens.verify(credential)
        return Claim(None, identified.user, identified.tenant, identified.issued_at)
    claimed = services.credentials.claim(credential)
    if claimed is None or credential.startswith(SESSION_PREFIX):
        raise Unauthorized(UNKNOWN)
    return claimed


def _signed_in(request: Request, cookie: str) -> Claim:
    """Of the page's cookie. A browser sends it with other sites' requests as well, so whatever
    changes something brings what only our own page can read."""
    claimed = services_of(request).credentials.claim(cookie)
    if claimed is None or not cookie.startswith(SESSION_PREFIX):
        raise Unauthorized(UNKNOWN)
    if request.method not in SAFE:
        sent = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(sent.encode(), csrf_token(cookie).encode()):
            raise Forbidden("Send the `X-CSRF-Token` that `GET /api/session` gives.")
    return claimed


def csrf_token(session: str) -> str:
    """What belongs to a session and tells nothing of it."""
    return hashlib.sha256(b"csrf:" + session.encode("utf-8", "surrogatepass")).hexdigest()


async def administer(scope: Annotated[Scope, Depends(authenticate)]) -> Scope:
    """The caller, who may change things. Raises Forbidden for a member."""
    if scope.role not in ("owner", "admin"):
        raise Forbidden("This needs the role owner or admin.")
    return scope


async def read(request: Request, described: Described) -> Scope | Claim:
    """The caller of a call that reads from the database and does nothing else. Where requests are
    counted, it is known first whose this one is."""
    if services_of(request).limits is not None:
        return await authenticate(request, described)
    return await present(request)


Member = Annotated[Scope, Depends(authenticate)]
Reader = Annotated[Scope | Claim, Depends(read)]


async def identify(request: Request, described: Described) -> None:
    """For every call: its caller is known before a word is said of the request, also where the call
    asks for none. Of one that takes a Reader the credential may be looked up with what it reads."""
    route: APIRoute = request.scope["route"]
    reads = any(each.call is read for each in route.dependant.dependencies)
    await (read if reads else authenticate)(request, described)


Administrator = Annotated[Scope, Depends(administer)]


async def _anonymous(request: Request, services: Services) -> Scope:
    if not services.anonymous_owner:
        raise Unauthorized
    if request["http_version"] == PROXIES_HTTP or any(map(FORWARDED.fullmatch, request.headers)):
        # A proxy on this machine: whoever asks is somewhere else.
        raise Unauthorized
    host = request.headers.get("host", "")
    if not is_loopback_host(host):
        # A page whose own name was made to resolve to this machine (DNS rebinding).
        raise Forbidden("Without an API key this server answers at localhost and 127.0.0.1 only.")
    origin = request.headers.get("origin")
    if origin is not None and origin.lower() not in origins_of(host.lower()):
        # A page of another site, which would act with the owner's rights unseen.
        raise Forbidden("Without an API key this server takes no requests from other sites' pages.")
    return await services.credentials.default_scope()


def is_loopback_host(host: str) -> bool:
    """True for a `Host` header that names this machine: localhost, 127.0.0.0/8, [::1]; any port."""
    found = HOST.fullmatch(host)
    if found is None:
        return False
    name = found["name"].strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def origins_of(host: str) -> tuple[str, str]:
    return f"http://{host}", f"https://{host}"
