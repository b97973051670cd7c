"""An issuer of one's own, for set-ups without one."""

import jwt

from app.identity.claims import Names
from app.identity.verifying import OWN_ALGORITHM


def issue(
    secret: str,
    user: str,
    tenant: str | None,
    *,
    issuer: str,
    audience: str,
    names: Names,
    now: int,
    seconds: int,
) -> str:
    """A token of the user that `JwtVerifier` takes for so many seconds from `now`."""
    claims = {"iss": issuer, "aud": audience, "iat": now, "exp": now + seconds, names.user: user}
    if tenant is not None:
        claims[names.tenant] = tenant
    return jwt.encode(claims, secret, OWN_ALGORITHM)
