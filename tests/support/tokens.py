"""Issuers of tokens for tests: real keys, and tokens as no honest issuer would make them."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER, AUDIENCE = "https://login.example.com", "citestream"
SECRET = "0123456789abcdef0123456789abcdef-own"
EMAIL = "ada@example.com"


def claims(**changed: Any) -> dict[str, Any]:
    """Those of a good token; a claim that is changed to None is left out."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 3600,
        "email": EMAIL,
        "email_verified": True,
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def segment(content: Any) -> str:
    """One part of a token: bytes as they are, everything else as JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def handmade(header: Any, payload: Any, secret: bytes | None = None) -> str:
    """A token of any header and payload, with an HMAC of the secret, or without a signature."""
    signed = f"{segment(header)}.{segment(payload)}"
    if secret is None:
        return f"{signed}."
    return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


class Issuer:
    """One key of an issuer, for one algorithm."""

    def __init__(
        self, algorithm: str = "RS256", key_id: str = "first", *, bits: int = 2048
    ) -> None:
        self.algorithm, self.key_id = algorithm, key_id
        self.private: Any
        if algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        elif algorithm.startswith("ES"):
            curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
            self.private = ec.generate_private_key(curves[algorithm])
        else:
            self.private = rsa.generate_private_key(65537, bits)

    def jwk(self, **changed: Any) -> dict[str, Any]:
        """Its public key as it is published; a member that is changed to None is left out."""
        kind = jwt.get_algorithm_by_name(self.algorithm)
        public = kind.to_jwk(self.private.public_key(), as_dict=True)
        public.pop("key_ops", None)
        named = {**public, "kid": self.key_id, "use": "sig", "alg": self.algorithm, **changed}
        return {name: value for name, value in named.items() if value is not None}

    def private_jwk(self) -> dict[str, Any]:
        """What must never be published."""
        kind = jwt.get_algorithm_by_name(self.algorithm)
        private = kind.to_jwk(self.private, as_dict=True)
        private.pop("key_ops", None)
        return {**private, "kid": self.key_id, "use": "sig", "alg": self.algorithm}

    def pem(self) -> bytes:
        """Its public key as a file has it."""
        public = self.private.public_key()
        return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def der(self) -> bytes:
        public = self.private.public_key()
        return bytes(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def token(self, header: Mapping[str, Any] | None = None, **changed: Any) -> str:
        """A good token but for what is changed."""
        headers = {"kid": self.key_id, **(header or {})}
        kept = {name: value for name, value in headers.items() if value is not None}
        return self.signed(claims(**changed), kept)

    def signed(self, payload: Any, headers: Mapping[str, Any]) -> str:
        """Any payload under any header, with a good signature."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signed = f"{segment({'alg': self.algorithm, 'typ': 'JWT', **headers})}.{segment(data)}"
        kind = jwt.get_algorithm_by_name(self.algorithm)
        return f"{signed}.{segment(kind.sign(signed.encode(), self.private))}"


def key_set(*keys: Mapping[str, Any]) -> bytes:
    """A JWK set as an issuer publishes it."""
    return json.dumps({"keys": keys}).encode()
