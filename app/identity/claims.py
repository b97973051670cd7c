"""What a token says about who has presented it, once its signature is known to be good."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.identity.tokens import Identified, Refused

EMAIL, EMAIL_VERIFIED = "email", "email_verified"
# RFC 5321's longest address; no name of a tenant is longer, either.
MAX_NAME_CHARS = 320
LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Names:
    """Which claims say who it is, and in which tenant."""

    user: str = EMAIL
    tenant: str = "tenant"


def read_claims(claims: Mapping[str, Any], names: Names) -> Identified:
    """Raises Refused for claims that name nobody, or that the issuer itself does not vouch for."""
    if names.user == EMAIL and not _vouched_for(claims):
        # Whoever signs up with an issuer may give any address, until it has been verified.
        raise Refused("its issuer has not verified the address")
    user = _name(claims, names.user)
    if user is None:
        raise Refused(f"its claim {names.user} is missing")
    if not user.isascii():
        # Names are looked for in lower case, in which the Kelvin sign is the letter k: it would be
        # somebody else.
        raise Refused(f"its claim {names.user} has letters that pass for others")
    return Identified(user, _name(claims, names.tenant), _time(claims, "iat"), _time(claims, "exp"))


def _vouched_for(claims: Mapping[str, Any]) -> bool:
    """Some issuers have it as a string. One that is silent vouches for every address it gives."""
    verified = claims.get(EMAIL_VERIFIED, True)
    return verified is True or verified == "true"


def _name(claims: Mapping[str, Any], claim: str) -> str | None:
    value = claims.get(claim)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_CHARS:
        raise Refused(f"its claim {claim} is no name")
    if value != value.strip() or not value.isprintable():
        raise Refused(f"its claim {claim} has characters that no name has")
    return value


def _time(claims: Mapping[str, Any], claim: str) -> datetime:
    value = claims.get(claim)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Refused(f"its claim {claim} is no time")
    if not 0 <= value <= LATEST:
        raise Refused(f"its claim {claim} is no time of ours")
    return datetime.fromtimestamp(value, UTC)
