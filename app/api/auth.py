"""From a request to the Scope on whose behalf it acts."""

import re
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.services import Services, services_of
from app.chat.administration import UNKNOWN_KEY
from app.chat.model import Claim, Scope
from app.errors import Forbidden, Unauthorized
from app.performance.stages import AUTH

MAX_KEY_CHARS = 512
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]@/\s]+)(?::\d{1,5})?")

_described_in_openapi = HTTPBearer(
    auto_error=False,
    description="An API key; a server that listens on loopback only needs none.",
)


async def authenticate(
    request: Request,
    _: Annotated[HTTPAuthorizationCredentials | None, Security(_described_in_openapi)],
) -> Scope:
    """The caller. Raises Unauthorized without a valid key, Forbidden for a page of another site.

    A key that is wrong is refused even where none is needed: who presents one means to be someone.
    """
    services = services_of(request)
    authorization = request.headers.get("authorization")
    if authorization is None:
        return await _anonymous(request, services)
    key = _key(authorization)
    if key is None:
        raise Unauthorized
    with services.monitor.track(AUTH):
        scope = await services.credentials.resolve(key)
    if scope is None:
        raise Unauthorized(UNKNOWN_KEY)
    return scope


def claim(request: Request) -> Claim | None:
    """The API key as it was presented, to be checked together with what it is presented for; None
    where `authenticate` has to be asked."""
    authorization = request.headers.get("authorization")
    key = None if authorization is None else _key(authorization)
    return None if key is None else services_of(request).credentials.claim(key)


async def administer(scope: Annotated[Scope, Depends(authenticate)]) -> Scope:
    """The caller, who may change things. Raises Forbidden for a member."""
    if scope.role not in ("owner", "admin"):
        raise Forbidden("This needs the role owner or admin.")
    return scope


Member = Annotated[Scope, Depends(authenticate)]
Administrator = Annotated[Scope, Depends(administer)]


def _key(authorization: str) -> str | None:
    """The key that an `Authorization` header presents, None where it is none."""
    scheme, _space, key = authorization.partition(" ")
    key = key.strip()
    valid = scheme.lower() == "bearer" and 0 < len(key) <= MAX_KEY_CHARS
    return key if valid else None


async def _anonymous(request: Request, services: Services) -> Scope:
    if not services.anonymous_owner:
        raise Unauthorized
    if any(name in request.headers for name in FORWARDED):
        # A proxy on this machine: whoever asks is somewhere else.
        raise Unauthorized
    host = request.headers.get("host", "")
    if not is_loopback_host(host):
        # A page whose own name was made to resolve to this machine (DNS rebinding).
        raise Forbidden("Without an API key this server answers at localhost and 127.0.0.1 only.")
    origin = request.headers.get("origin")
    if origin is not None and origin.lower() not in _origins_of(host.lower()):
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


def _origins_of(host: str) -> tuple[str, str]:
    return f"http://{host}", f"https://{host}"
