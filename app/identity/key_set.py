"""A JWK set (RFC 7517): which of the keys in it can be an issuer's for one algorithm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

# What is smaller can be factored; what is larger takes milliseconds for each token.
RSA_BITS = range(2048, 8192 + 1)
CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key, with the id that tokens name it by, where it has one."""

    id: str | None
    key: Any
    # By which to tell whether it is still the same.
    numbers: Mapping[str, Any]


def read_keys(document: bytes, algorithm: str) -> Sequence[IssuerKey]:
    """The keys in it that sign by this algorithm; others are passed over, as issuers have several
    kinds. Raises ValueError for what is no JWK set at all."""
    content = orjson.loads(document)
    if not isinstance(content, dict) or not isinstance(content.get("keys"), list):
        raise ValueError("It has no list of keys.")
    read = (_read_key(each, algorithm) for each in content["keys"] if isinstance(each, dict))
    return [key for key in read if key is not None]


def _read_key(jwk: dict[str, Any], algorithm: str) -> IssuerKey | None:
    key_id, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    meant = (
        jwk.get("use", "sig") == "sig"
        and jwk.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(key_id, str | None)
    )
    if not meant:
        return None
    try:
        key = jwt.PyJWK(jwk, algorithm).key
    except jwt.PyJWTError:
        return None
    return IssuerKey(key_id, key, jwk) if _suits(key, algorithm) else None


def _suits(key: Any, algorithm: str) -> bool:
    """Whether it is a public key, of the algorithm's kind and size."""
    if algorithm in CURVES:
        return isinstance(key, EllipticCurvePublicKey) and key.curve.name == CURVES[algorithm]
    if algorithm == "EdDSA":
        return isinstance(key, Ed25519PublicKey | Ed448PublicKey)
    return isinstance(key, RSAPublicKey) and key.key_size in RSA_BITS
