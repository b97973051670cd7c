"""Checking a signature and what is signed, with PyJWT, by one algorithm and one issuer's keys."""

from typing import Any, Protocol

import jwt

from app.identity.claims import Names, read_claims
from app.identity.tokens import LEEWAY_SECONDS, Expired, Identified, Refused

REQUIRED = ("exp", "iat", "iss", "aud")
OWN_ALGORITHM = "HS256"


class Keys(Protocol):
    """Those that an issuer signs with; every one of the verifier's algorithm."""

    @property
    def version(self) -> int:
        """Another number as soon as other keys count."""
        ...

    async def find(self, key_id: str | None) -> Any:
        """The key of this id, or None; without an id, the only one there is. Raises Unavailable
        where none have been reached so far."""
        ...


class OwnKey:
    """The one secret of an issuer of one's own."""

    version = 0

    def __init__(self, secret: str) -> None:
        """Raises ValueError for what is a public key by its looks: those are no secrets."""
        try:
            self._secret = jwt.get_algorithm_by_name(OWN_ALGORITHM).prepare_key(secret)
        except jwt.InvalidKeyError as error:
            raise ValueError("It is a key of another kind, or a certificate.") from error

    async def find(self, key_id: str | None) -> Any:
        """Whatever it is called."""
        return self._secret


class JwtVerifier:
    """The tokens of one issuer for one audience."""

    def __init__(
        self, algorithm: str, keys: Keys, *, issuer: str, audience: str, names: Names
    ) -> None:
        self.algorithm = algorithm
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._names = names

    @property
    def keys_version(self) -> int:
        return self._keys.version

    async def verify(self, token: str, key_id: str | None) -> Identified:
        """See `Verifier`. Nothing but `key_id` is taken from the header, and that chooses among the
        issuer's keys only: a key, or an address of one, that a token brings along is not looked
        at."""
        key = await self._keys.find(key_id)
        if key is None:
            raise Refused("its key is none of its issuer's")
        return read_claims(self._checked(token, key), self._names)

    def _checked(self, token: str, key: Any) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[self.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={
                    "require": list(REQUIRED),
                    "verify_sub": False,  # nobody's: some issuers have a number there
                    "verify_jti": False,
                    "enforce_minimum_key_length": True,
                },
            )
        except jwt.ExpiredSignatureError as error:
            raise Expired("it has expired") from error
        except jwt.PyJWTError as error:
            # The kind alone: some messages quote the token.
            raise Refused(type(error).__name__) from error
        return claims
