"""Tokens that are good, and every known way to make one that is not, with real keys."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Unauthorized
from app.identity.claims import Names
from app.identity.issuing import issue
from app.identity.jwks import IssuerKeys
from app.identity.tokens import (
    EXPIRED,
    INVALID,
    LEEWAY_SECONDS,
    MAX_CHARS,
    NOT_CONFIGURED,
    REMEMBERED,
    Identified,
    Tokens,
)
from app.identity.verifying import JwtVerifier, OwnKey
from tests.support.tokens import (
    AUDIENCE,
    EMAIL,
    ISSUER,
    SECRET,
    Issuer,
    claims,
    handmade,
    key_set,
    segment,
)

RSA, OTHER_RSA = Issuer(), Issuer()
EC, EDDSA = Issuer("ES256"), Issuer("EdDSA")
HEADER = {"alg": "HS256", "typ": "JWT"}
HOUR = 3600


def verifier(keys: Any, algorithm: str, names: Names | None = None) -> JwtVerifier:
    return JwtVerifier(algorithm, keys, issuer=ISSUER, audience=AUDIENCE, names=names or Names())


def issuer_keys(*issuers: Issuer) -> IssuerKeys:
    async def fetch() -> bytes:
        return key_set(*(each.jwk() for each in issuers))

    return IssuerKeys(fetch, issuers[0].algorithm)


def tokens(*issuers: Issuer, names: Names | None = None, **options: Any) -> Tokens:
    """Those of the issuer of one's own, and of these."""
    own = verifier(OwnKey(SECRET), "HS256", names)
    others = [verifier(issuer_keys(each), each.algorithm, names) for each in issuers]
    return Tokens([own, *others], **options)


def own(**changed: Any) -> str:
    return handmade(HEADER, claims(**changed), SECRET.encode())


async def refusal(token: str, *issuers: Issuer) -> tuple[str, str]:
    """What is said to the caller, and what to the operator."""
    why: list[str] = []
    with pytest.raises(Unauthorized) as raised:
        await tokens(*(issuers or (RSA, EC, EDDSA)), refused=why.append).verify(token)
    assert raised.value.status == 401
    return raised.value.message, why[0]


@pytest.mark.parametrize(
    "issuer", [RSA, EC, EDDSA, Issuer("PS256"), Issuer("RS512"), Issuer("ES384"), Issuer("ES512")],
    ids=lambda issuer: issuer.algorithm,
)  # fmt: skip
async def test_a_token_of_the_issuer_is_good(issuer: Issuer) -> None:
    content = claims(tenant="acme")
    found = await tokens(issuer).verify(issuer.signed(content, {"kid": issuer.key_id}))
    times = [datetime.fromtimestamp(content[name], UTC) for name in ("iat", "exp")]
    assert found == Identified(EMAIL, "acme", *times)


async def test_a_token_of_ones_own_is_good_for_as_long_as_it_says() -> None:
    now = int(time.time())
    token = issue(
        SECRET, EMAIL, "acme", issuer=ISSUER, audience=AUDIENCE, names=Names(), now=now,
        seconds=HOUR,
    )  # fmt: skip
    found = await tokens().verify(token)
    assert (found.user, found.tenant) == (EMAIL, "acme")
    assert (found.expires_at - found.issued_at).total_seconds() == HOUR


GOOD: dict[str, Callable[[], str]] = {
    "no tenant": lambda: RSA.token(),
    "several audiences": lambda: RSA.token(aud=["account", AUDIENCE]),
    "an access token's type": lambda: RSA.token({"typ": "at+JWT"}),
    "no type": lambda: handmade({"alg": "HS256"}, claims(), SECRET.encode()),
    "verified, as a string": lambda: RSA.token(email_verified="true"),
    "an issuer that says nothing of it": lambda: RSA.token(email_verified=None),
    "no key's name where there is one key": lambda: RSA.token({"kid": None}),
    "a fraction of a second": lambda: RSA.token(iat=time.time() - 0.5),
    "expired within the leeway": lambda: RSA.token(exp=int(time.time()) - LEEWAY_SECONDS + 5),
    "a clock that is ahead": lambda: RSA.token(iat=int(time.time()) + LEEWAY_SECONDS - 5),
    "a number as its subject": lambda: RSA.token(sub=17),
    # Nobody looks there.
    "an address of keys": lambda: RSA.token({"jku": "http://127.0.0.1:9/keys"}),
    "a certificate's address": lambda: RSA.token({"x5u": "http://127.0.0.1:9/certificate"}),
    "a certificate's print": lambda: RSA.token({"x5t": "abc"}),
}


@pytest.mark.parametrize("name", GOOD)
async def test_what_honest_issuers_do_is_good(name: str) -> None:
    found = await tokens(RSA, EC, EDDSA).verify(GOOD[name]())
    assert (found.user, found.tenant) == (EMAIL, None)


def swapped(token: str, part: int, content: str) -> str:
    parts = token.split(".")
    parts[part] = content
    return ".".join(parts)


def flipped(token: str) -> str:
    """The first bit of its signature is another one."""
    signature = token.rsplit(".", 1)[1]
    return swapped(token, 2, ("B" if signature[0] == "A" else "A") + signature[1:])


def nested() -> str:
    inner = RSA.token()
    return RSA.signed(inner.encode(), {"kid": "first", "cty": "JWT"})


NOW = int(time.time())
BAD: dict[str, Callable[[], str]] = {
    # No signature, under every spelling, and with the real one left on.
    "alg none": lambda: handmade({"alg": "none"}, claims()),
    "alg None": lambda: handmade({"alg": "None"}, claims()),
    "alg NONE": lambda: handmade({"alg": "NONE"}, claims()),
    "alg nOnE": lambda: handmade({"alg": "nOnE"}, claims(), SECRET.encode()),
    "alg none, signed": lambda: swapped(RSA.token(), 0, segment({"alg": "none"})),
    "alg empty": lambda: handmade({"alg": ""}, claims(), SECRET.encode()),
    "alg null": lambda: handmade({"alg": None}, claims(), SECRET.encode()),
    "alg a list": lambda: handmade({"alg": ["HS256"]}, claims(), SECRET.encode()),
    "alg missing": lambda: handmade({"typ": "JWT"}, claims(), SECRET.encode()),
    "no signature": lambda: swapped(RSA.token(), 2, ""),
    "no signature of HS256": lambda: handmade(HEADER, claims()),
    # Key confusion.
    "HS256 by the RSA key's PEM": lambda: handmade(HEADER, claims(), RSA.pem()),
    "HS256 by its PEM, stripped": lambda: handmade(HEADER, claims(), RSA.pem().strip()),
    "HS256 by its DER": lambda: handmade(HEADER, claims(), RSA.der()),
    "HS256 by its modulus": lambda: handmade(HEADER, claims(), RSA.jwk()["n"].encode()),
    "HS256 by the published set": lambda: handmade(HEADER, claims(), key_set(RSA.jwk())),
    "HS256 under the RSA key's name": lambda: handmade(
        {**HEADER, "kid": "first"}, claims(), RSA.pem()
    ),
    "HS256 by nothing": lambda: handmade(HEADER, claims(), b""),
    "HS256 by a zero": lambda: handmade(HEADER, claims(), b"\0"),
    "HS384 by the own secret": lambda: jwt.encode(claims(), SECRET.ljust(64), "HS384"),
    "RS512 where RS256 is set": lambda: Issuer("RS512").token(),
    "PS256 by the RS256 key": lambda: swapped(
        RSA.token(), 0, segment({"alg": "PS256", "kid": "first"})
    ),
    "ES256 named RS256": lambda: swapped(EC.token(), 0, segment({"alg": "RS256", "kid": "first"})),
    "RS256 named HS256": lambda: swapped(RSA.token(), 0, segment(HEADER)),
    "EdDSA by another key": lambda: Issuer("EdDSA").token(),
    "ES256 of zeros": lambda: swapped(EC.token(), 2, segment(bytes(64))),
    "ES256 in DER": lambda: swapped(EC.token(), 2, segment(b"\x30\x06\x02\x01\x01\x02\x01\x01")),
    # Keys that the token brings along, and what is pasted into names of keys.
    "another key": lambda: OTHER_RSA.token(),
    "its own jwk": lambda: OTHER_RSA.token({"jwk": OTHER_RSA.jwk()}),
    "its own jwk, unnamed": lambda: OTHER_RSA.token({"jwk": OTHER_RSA.jwk(), "kid": None}),
    "its own jku": lambda: OTHER_RSA.token({"jku": "http://127.0.0.1:9/keys"}),
    "its own x5u": lambda: OTHER_RSA.token({"x5u": "http://127.0.0.1:9/certificate"}),
    "its own x5c": lambda: OTHER_RSA.token({"x5c": [segment(OTHER_RSA.der())]}),
    "kid a path": lambda: handmade({**HEADER, "kid": "../../../../dev/null"}, claims(), b""),
    "kid SQL": lambda: handmade({**HEADER, "kid": "x' UNION SELECT 'a'--"}, claims(), b"a"),
    "kid unknown": lambda: RSA.token({"kid": "second"}),
    "kid empty": lambda: RSA.token({"kid": ""}),
    "kid null": lambda: RSA.signed(claims(), {"kid": None}),
    "kid a list": lambda: RSA.token({"kid": ["first"]}),
    "kid an object": lambda: RSA.token({"kid": {"first": 1}}),
    # Other things than a plain signed token.
    "crit": lambda: RSA.token({"crit": ["exp"]}),
    "crit of its own": lambda: RSA.token({"crit": ["x"], "x": True}),
    "crit empty": lambda: RSA.token({"crit": []}),
    "crit b64": lambda: RSA.token({"crit": ["b64"], "b64": True}),
    "b64 false": lambda: RSA.token({"crit": ["b64"], "b64": False}),
    "nested": nested,
    "zip": lambda: RSA.token({"zip": "DEF"}),
    "a logout token": lambda: RSA.token({"typ": "logout+jwt"}),
    "a type that is none": lambda: RSA.token({"typ": 1}),
    "encrypted": lambda: ".".join(
        (segment({"alg": "RSA-OAEP", "enc": "A256GCM"}), "AAAA", "AAAA", "AAAA", "AAAA")
    ),
    "encrypted, in three parts": lambda: ".".join(
        (segment({"alg": "dir", "enc": "A256GCM"}), "AAAA", "AAAA")
    ),
    # Parts that are none.
    "empty": lambda: "",
    "dots": lambda: "..",
    "four parts": lambda: RSA.token() + ".AAAA",
    "two parts": lambda: RSA.token().rsplit(".", 1)[0],
    "no base64": lambda: "!!!!.!!!!.!!!!",
    "header no JSON": lambda: swapped(RSA.token(), 0, segment(b"{")),
    "header a list": lambda: swapped(RSA.token(), 0, segment([1])),
    "header no UTF-8": lambda: swapped(RSA.token(), 0, segment(b'{"alg":"\xff"}')),
    "header in UTF-16": lambda: swapped(
        RSA.token(), 0, segment('{"alg":"RS256"}'.encode("utf-16"))
    ),
    "header of brackets": lambda: swapped(RSA.token(), 0, segment(b"[" * 5000)),
    "payload of brackets": lambda: RSA.signed(b"[" * 5000, {"kid": "first"}),
    "payload no JSON": lambda: RSA.signed(b"{", {"kid": "first"}),
    "payload a list": lambda: RSA.signed([claims()], {"kid": "first"}),
    "payload a text": lambda: RSA.signed("ada", {"kid": "first"}),
    "payload changed": lambda: swapped(RSA.token(), 1, segment(claims(email="eve@example.com"))),
    "signature changed": lambda: flipped(RSA.token()),
    "own signature changed": lambda: flipped(own()),
    "no ASCII": lambda: RSA.token() + "é",
    "full-width dots": lambda: RSA.token().replace(".", "．"),
    "a line break": lambda: RSA.token() + "\n",
    "a space": lambda: " " + RSA.token(),
    "a NUL": lambda: RSA.token() + "\0",
    "a surrogate": lambda: RSA.token() + "\ud800",
    "too long": lambda: RSA.token(x="x" * MAX_CHARS),
    "far too long": lambda: "A" * 1_000_000 + ".A.A",
    # Claims.
    "no exp": lambda: RSA.token(exp=None),
    "no iat": lambda: RSA.token(iat=None),
    "no iss": lambda: RSA.token(iss=None),
    "no aud": lambda: RSA.token(aud=None),
    "no email": lambda: RSA.token(email=None),
    "own without exp": lambda: own(exp=None),
    "another audience": lambda: RSA.token(aud="another"),
    "a part of the audience": lambda: RSA.token(aud="cite"),
    "other audiences": lambda: RSA.token(aud=["another", "account"]),
    "no audiences": lambda: RSA.token(aud=[]),
    "audience an object": lambda: RSA.token(aud={AUDIENCE: 1}),
    "audience in a list": lambda: RSA.token(aud=[[AUDIENCE]]),
    "another issuer": lambda: RSA.token(iss="https://login.example.com.evil.example"),
    "issuer with a slash": lambda: RSA.token(iss=f"{ISSUER}/"),
    "issuer in a list": lambda: RSA.token(iss=[ISSUER]),
    "not yet": lambda: RSA.token(nbf=NOW + HOUR),
    "nbf a text": lambda: RSA.token(nbf="now"),
    "issued tomorrow": lambda: RSA.token(iat=NOW + 24 * HOUR),
    "exp a text": lambda: RSA.token(exp=str(NOW + HOUR)),
    "iat true": lambda: RSA.token(iat=True),
    "exp a list": lambda: RSA.token(exp=[NOW + HOUR]),
    "exp infinite": lambda: RSA.token(exp=float("inf")),
    "exp no number": lambda: RSA.token(exp=float("nan")),
    "exp beyond time": lambda: RSA.token(exp=1e30),
    "exp of many digits": lambda: RSA.signed(
        b'{"exp":' + b"9" * 4999 + b"}", {"kid": "first"}
    ),
    "iat a text": lambda: RSA.token(iat=str(NOW)),
    "iat before time": lambda: RSA.token(iat=-1e30),
    "email not verified": lambda: RSA.token(email_verified=False),
    "email verified, by a word": lambda: RSA.token(email_verified="false"),
    "email verified, by a number": lambda: RSA.token(email_verified=1),
    "email empty": lambda: RSA.token(email=""),
    "email a list": lambda: RSA.token(email=[EMAIL]),
    "email too long": lambda: RSA.token(email="a" * 400),
    "email with a space behind": lambda: RSA.token(email=f"{EMAIL} "),
    "email with a NUL": lambda: RSA.token(email=f"{EMAIL}\0"),
    "email with a surrogate": lambda: RSA.token(email="\ud800"),
    "email with a Kelvin sign": lambda: RSA.token(email="\u212aim@example.com"),
    "tenant a number": lambda: RSA.token(tenant=1),
    "tenant empty": lambda: RSA.token(tenant=""),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_every_other_token_is_refused(name: str) -> None:
    token = BAD[name]()
    message, why = await refusal(token)
    assert message == INVALID
    assert "eyJ" not in why


@pytest.mark.parametrize("make", [own, RSA.token], ids=["own", "issuer's"])
async def test_only_of_an_expired_one_it_is_said_why(make: Callable[..., str]) -> None:
    message, _ = await refusal(make(exp=NOW - LEEWAY_SECONDS - 5))
    assert message == EXPIRED
    message, _ = await refusal(flipped(make(exp=NOW - HOUR)))
    assert message == INVALID, "whoever cannot sign learns nothing"


FIELDS = st.dictionaries(
    st.sampled_from(("alg", "kid", "typ", "crit", "exp", "iat", "nbf", "iss", "aud", "email", "x")),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text()
        | st.sampled_from(("RS256", "HS256", "first", ISSUER, AUDIENCE, EMAIL)),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
)  # fmt: skip


@given(FIELDS, FIELDS)
async def test_whatever_is_signed_is_good_or_refused(
    header: dict[str, Any], payload: dict[str, Any]
) -> None:
    issuers = tokens(RSA)
    for token in (
        RSA.signed({**claims(), **payload}, {"kid": "first", **header}),
        handmade({**HEADER, **header}, {**claims(), **payload}, SECRET.encode()),
    ):
        with suppress(Unauthorized):
            await issuers.verify(token)


@given(st.text())
async def test_whatever_text_is_refused(text: str) -> None:
    for token in (text, f"{text}.{text}.{text}", f"{segment(text.encode('utf-8', 'replace'))}.A.A"):
        with pytest.raises(Unauthorized):
            await tokens(RSA).verify(token)


async def test_without_an_issuer_no_token_is_good() -> None:
    for token in (own(), RSA.token(), handmade({"alg": "none"}, claims()), "", "..", "x" * 10**6):
        with pytest.raises(Unauthorized) as raised:
            await Tokens([]).verify(token)
        assert raised.value.message == NOT_CONFIGURED


async def test_each_issuer_is_alone_with_its_algorithm() -> None:
    both = tokens(RSA)
    assert await both.verify(own())
    assert await both.verify(RSA.token())
    with pytest.raises(Unauthorized):
        await Tokens([verifier(issuer_keys(RSA), "RS256")]).verify(own())
    with pytest.raises(Unauthorized):
        await Tokens([verifier(OwnKey(SECRET), "HS256")]).verify(RSA.token())


async def test_other_claims_may_say_who_it_is() -> None:
    names = Names(user="preferred_username", tenant="org")
    issuers = tokens(RSA, names=names)
    token = RSA.token(preferred_username="ada", org="acme", email_verified=False)
    found = await issuers.verify(token)
    assert (found.user, found.tenant) == ("ada", "acme")
    with pytest.raises(Unauthorized):
        await issuers.verify(RSA.token())


class Moving:
    """Keys that are exchanged, and a clock that is set."""

    def __init__(self) -> None:
        self.version, self.found, self.time = 0, 0, time.time()
        self.secret = SECRET.encode()

    async def find(self, key_id: str | None) -> Any:
        self.found += 1
        return self.secret

    def now(self) -> float:
        return self.time


@pytest.fixture
def moving() -> tuple[Moving, Tokens]:
    keys = Moving()
    return keys, Tokens([verifier(keys, "HS256")], now=keys.now)


async def test_a_good_token_is_checked_once(moving: tuple[Moving, Tokens]) -> None:
    keys, found = moving
    token = own()
    first = await found.verify(token)
    assert await found.verify(token) == first
    assert keys.found == 1
    for other in (flipped(token), "x" * MAX_CHARS * 2):
        with pytest.raises(Unauthorized):
            await found.verify(other)


async def test_other_keys_count_for_every_token(moving: tuple[Moving, Tokens]) -> None:
    keys, found = moving
    token = own()
    await found.verify(token)
    keys.version, keys.secret = 1, b"another secret of thirty-two bytes"
    with pytest.raises(Unauthorized):
        await found.verify(token)


async def test_a_token_that_was_good_expires(moving: tuple[Moving, Tokens]) -> None:
    keys, found = moving
    token = own(exp=NOW + HOUR)
    await found.verify(token)
    keys.time = NOW + HOUR + LEEWAY_SECONDS - 1
    await found.verify(token)
    assert keys.found == 1
    keys.time += 1
    await found.verify(token)
    assert keys.found == 2, "it is checked again, by the library's clock"


async def test_the_latest_tokens_are_remembered(moving: tuple[Moving, Tokens]) -> None:
    keys, found = moving
    first, second, *others = (own(email=f"{each}@example.com") for each in range(REMEMBERED + 1))
    for token in (first, second, *others[:-1], first, others[-1]):
        await found.verify(token)
    assert keys.found == REMEMBERED + 1
    await found.verify(first)
    assert keys.found == REMEMBERED + 1, "it was used after the second"
    await found.verify(second)
    assert keys.found == REMEMBERED + 2


@pytest.mark.parametrize("key", [RSA.pem().decode(), key_set(RSA.jwk()).decode()])
def test_a_public_key_is_no_secret(key: str) -> None:
    with pytest.raises(ValueError, match="another kind"):
        OwnKey(key)
