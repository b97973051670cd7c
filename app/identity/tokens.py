"""Tokens (JWTs): from what a request presents to who has presented it.

Light to import: what checks signatures is imported where one is configured.
"""

import hashlib
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson

from app.errors import Unauthorized

# An access token with a hundred groups in it has 4 KB. Before anything is parsed.
MAX_CHARS = 8192
# Clocks of two machines are hardly ever further apart, and a token lives for hours.
LEEWAY_SECONDS = 30
# Tokens that were good a moment ago, by their digests: looking one up takes 2 µs, where checking a
# signature takes up to 110. 400 bytes each.
REMEMBERED = 2_000
# `at+jwt` is RFC 9068's. Others are no one's identity, such as a `logout+jwt`.
TYPES = frozenset(("jwt", "at+jwt", "application/at+jwt"))
# Extensions that must be understood, content that is no claims, and encryption.
REFUSED_HEADERS = ("crit", "b64", "cty", "zip", "enc")

INVALID = "This token is not valid."
EXPIRED = "This token has expired; get a new one."
NOT_CONFIGURED = "This server takes no tokens (JWTs), because none are configured; use an API key."


@dataclass(frozen=True, slots=True)
class Identified:
    """Who a token is of, as its issuer says. What they may do is not the issuer's to say."""

    user: str
    tenant: str | None
    issued_at: datetime
    expires_at: datetime


class Refused(Exception):
    """A token is not good; the message is for whoever sets the issuer up, and holds nothing of the
    token."""


class Expired(Refused):
    """It was good, and is too old."""


class Verifier(Protocol):
    """One issuer's tokens, of one algorithm."""

    @property
    def algorithm(self) -> str: ...

    @property
    def keys_version(self) -> int:
        """Another number as soon as other keys count."""
        ...

    async def verify(self, token: str, key_id: str | None) -> Identified:
        """Who it is of. Raises Refused, and Unavailable where there are no keys to check it with.
        `key_id` is what its header names, not yet believed."""
        ...


@dataclass(frozen=True, slots=True)
class _Known:
    identified: Identified
    verifier: Verifier
    keys_version: int


class Tokens:
    """Those of all configured issuers, of which each has an algorithm that no other one has: so
    the algorithm in a token's header chooses who checks it, and never how."""

    def __init__(
        self,
        verifiers: Sequence[Verifier],
        *,
        refused: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`refused` is told why, which a caller is not."""
        self._verifiers = {each.algorithm: each for each in verifiers}
        self._refused = refused
        self._now = now
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    async def verify(self, token: str) -> Identified:
        """Who a token is of. Raises Unauthorized, and Unavailable where an issuer's keys have never
        been reached."""
        if known := self._remembered(token):
            return known
        if not self._verifiers:
            raise Unauthorized(NOT_CONFIGURED)
        try:
            return await self._verify(token)
        except Refused as error:
            self._refused(str(error))
            raise Unauthorized(EXPIRED if isinstance(error, Expired) else INVALID) from error

    async def _verify(self, token: str) -> Identified:
        header = read_header(token)
        verifier = self._verifiers.get(header["alg"])
        if verifier is None:
            raise Refused("its algorithm is none that is configured")
        # Before the keys are looked at: whatever changes meanwhile makes this one unknown again.
        version = verifier.keys_version
        identified = await verifier.verify(token, header.get("kid"))
        self._known[_digest(token)] = _Known(identified, verifier, version)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return identified

    def _remembered(self, token: str) -> Identified | None:
        """Of a token that was verified before and is still good."""
        if len(token) > MAX_CHARS:
            return None
        digest = _digest(token)
        known = self._known.get(digest)
        if known is None:
            return None
        expires = known.identified.expires_at.timestamp() + LEEWAY_SECONDS
        if known.keys_version != known.verifier.keys_version or expires <= self._now():
            del self._known[digest]
            return None
        self._known.move_to_end(digest)
        return known.identified


def read_header(token: str) -> Mapping[str, Any]:
    """The header of a token, in which `alg` is a string, and `kid` where there is one. Raises
    Refused for whatever is no plain signed JWT, before anything else of it is read."""
    if len(token) > MAX_CHARS or not token.isascii():
        raise Refused("it is longer than any token, or is no ASCII")
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise Refused("it has other than three parts")
    header = _decoded(parts[0])
    if any(name in header for name in REFUSED_HEADERS):
        raise Refused("its header has what is no part of a plain signed token")
    kind = header.get("typ", "jwt")
    if not isinstance(kind, str) or kind.lower() not in TYPES:
        raise Refused("it is of another type than a token of who somebody is")
    if not isinstance(header.get("alg"), str) or not isinstance(header.get("kid", ""), str):
        raise Refused("its header is not as it has to be")
    return header


def _decoded(part: str) -> Mapping[str, Any]:
    try:
        padded = part + "=" * (-len(part) % 4)
        header = orjson.loads(b64decode(padded, altchars=b"-_", validate=True))
    except ValueError as error:
        raise Refused("its header cannot be read") from error
    if not isinstance(header, dict):
        raise Refused("its header is no object")
    return header


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
