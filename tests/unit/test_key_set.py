"""Which keys of a JWK set are taken."""

import json
from typing import Any

import pytest

from app.identity.key_set import read_keys
from tests.support.tokens import Issuer, key_set

RSA, EC, EDDSA = Issuer("RS256", "rsa"), Issuer("ES256", "ec"), Issuer("EdDSA", "ed")


def ids(document: bytes, algorithm: str = "RS256") -> list[str | None]:
    return [each.id for each in read_keys(document, algorithm)]


@pytest.mark.parametrize("issuer", [RSA, EC, EDDSA], ids=lambda issuer: issuer.algorithm)
def test_of_a_set_only_keys_of_the_algorithm_are_taken(issuer: Issuer) -> None:
    document = key_set(RSA.jwk(), EC.jwk(), EDDSA.jwk())
    assert ids(document, issuer.algorithm) == [issuer.key_id]
    unnamed = (each.jwk(alg=None, use=None) for each in (RSA, EC, EDDSA))
    assert ids(key_set(*unnamed), issuer.algorithm) == [issuer.key_id]


def test_an_rsa_key_that_names_no_algorithm_serves_each_of_its_kind() -> None:
    document = key_set(RSA.jwk(alg=None))
    assert all(ids(document, each) == ["rsa"] for each in ("RS256", "RS512", "PS256"))


def test_a_key_without_a_name_is_taken() -> None:
    assert ids(key_set(RSA.jwk(kid=None))) == [None]


PASSED_OVER: dict[str, dict[str, Any]] = {
    "for encryption": RSA.jwk(use="enc"),
    "for another algorithm": RSA.jwk(alg="RS512"),
    "for HMAC": RSA.jwk(alg="HS256"),
    "to sign with": RSA.jwk(key_ops=["sign"]),
    "operations no list": RSA.jwk(key_ops="verify"),
    "a name that is none": RSA.jwk(kid=1),
    "1,024 bits": Issuer(bits=1024).jwk(),
    "a private key": RSA.private_jwk(),
    "a secret": {"kty": "oct", "k": "c2VjcmV0", "kid": "rsa", "alg": "RS256"},
    "of another curve": Issuer("ES384").jwk(alg="ES256"),
    "without a modulus": RSA.jwk(n=None),
    "a modulus that is none": RSA.jwk(n="!"),
    "a modulus that is a number": RSA.jwk(n=17),
    "an even exponent": RSA.jwk(e="Ag"),
    "an exponent that is a list": RSA.jwk(e=[1]),
    "without a kind": RSA.jwk(kty=None),
    "of an unknown kind": RSA.jwk(kty="X"),
    "a kind that is a list": RSA.jwk(kty=["RSA"]),
    "empty": {},
}


@pytest.mark.parametrize("name", PASSED_OVER)
def test_every_other_key_is_passed_over(name: str) -> None:
    algorithm = "ES256" if name == "of another curve" else "RS256"
    document = key_set(PASSED_OVER[name], RSA.jwk(kid="good"), EC.jwk(kid="good"))
    assert ids(document, algorithm) == ["good"]


BROKEN: dict[str, dict[str, Any]] = {
    "a point off the curve": EC.jwk(x="AAAA"),
    "no point": EC.jwk(x=None, y=None),
    "half of a point": EC.jwk(y=None),
    "a point of zeros": EC.jwk(x="A" * 43, y="A" * 43),
    "a point that is a number": EC.jwk(x=1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_point_that_is_none_is_passed_over(name: str) -> None:
    assert ids(key_set(BROKEN[name], EC.jwk(kid="good")), "ES256") == ["good"]


@pytest.mark.parametrize("change", [{"x": None}, {"x": 1}, {"x": "AAAA"}, {"crv": "X25519"}])
def test_an_edwards_key_that_is_none_is_passed_over(change: dict[str, Any]) -> None:
    assert ids(key_set(EDDSA.jwk(**change), EDDSA.jwk(kid="good")), "EdDSA") == ["good"]


def test_what_is_no_key_is_passed_over() -> None:
    members = [1, None, "x", [], RSA.jwk()]
    assert ids(json.dumps({"keys": members}).encode()) == ["rsa"]


@pytest.mark.parametrize(
    "document", [b"", b"{", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"<html>", b"[" * 100_000]
)
def test_what_is_no_set_is_an_error(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_keys(document, "RS256")
