"""The boot matrix: a right configuration has nothing against it, and each rule that is broken alone
is exactly its own sentence, without the value."""

import os
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.production.addresses import address
from app.production.refusal import refuse_in_production, refuse_weak_secrets
from app.production.rules import complaints, concerns, weak
from app.production.secrets import is_known, is_known_kms_key
from app.settings import ConfigurationError, Settings

ROOT = Path(__file__).resolve().parents[2]
RIGHT: dict[str, Any] = {
    "environment": "production",
    "database_url": "postgresql://citestream_app:9c1e4f0a7b2d8356e1@db:5432/citestream",
    "database_owner_url": "postgresql://citestream_owner:5d80c2b97f3e6a14b7@db:5432/citestream",
    "redis_url": "redis://:e7a3915c0d4f28b66a@cache:6379/0",
    "kms_keys": "q3Vb0mW8s9dXyR2kTt1uJ7cZ4nLhF6gEaPoQiBvNxMs=",
    "auth": {"secret": "f1b7c9d3a5e80246f1b7c9d3a5e80246aa"},
    "cors_origins": "https://app.example.org",
}
KMS = "AGENT_KMS_KEY"
SIGNING = "CITESTREAM_AUTH__SECRET"
LONG = "b1946ac92492d2347c6235b4d2611184"


def settings(**changed: Any) -> Settings:
    return Settings(**{**RIGHT, **changed})


def database(password: str) -> str:
    return f"postgresql://citestream_app:{password}@db:5432/citestream"


def in_base64(key: bytes) -> str:
    return b64encode(key).decode()


RIGHT_TOO: list[dict[str, Any]] = [
    {},
    {"redis_url": None},
    {"redis_url": "unix:///run/valkey/valkey.sock"},
    {"redis_url": "rediss://cache:6379/0?ssl_certfile=/etc/tls/client.pem"},
    {"redis_url": f"redis://cache?password={LONG}"},
    {"redis_url": f"redis+cluster://name:{LONG}@cache-1:6379,cache-2:6379"},
    {"database_owner_url": None},
    {"database_url": "postgresql://citestream_app@/citestream?host=/run/postgresql"},
    {"database_url": "postgresql://citestream_app@%2Frun%2Fpostgresql/citestream"},
    {"database_url": "postgresql:///citestream"},
    {"database_url": "postgresql://citestream_app@db/citestream?sslcert=/etc/tls/client.pem"},
    {"database_url": "postgresql://citestream_app@one,two/citestream?passfile=/etc/pgpass"},
    {"auth": {}},
    {"auth": {"jwks_url": "https://login.example.org/keys"}},
    {"cors_origins": ""},
    {"log_level": "WARNING"},
    {"host": "127.0.0.1"},
    {"host": "0.0.0.0"},
    # Two keys while they are rotated; as one writes them for addresses.
    {"kms_keys": f"{in_base64(bytes(range(7, 39)))}, {RIGHT['kms_keys']}"},
    {"kms_keys": in_base64(bytes(range(230, 256)) * 2)[:43].replace("/", "_").replace("+", "-")},
    # What a vendor gave is what it is, and a server on one's own machine takes any word.
    {"openai_api_key": "EMPTY", "mistral_api_key": "EMPTY"},
    {"openai_api_key": LONG, "encoder": {"api_key": LONG}, "reranker": {"api_key": LONG}},
]


@pytest.mark.parametrize("changed", RIGHT_TOO)
def test_a_right_configuration_has_nothing_against_it(changed: dict[str, Any]) -> None:
    assert complaints(settings(**changed)) == []


WRONG: list[tuple[dict[str, Any], str]] = [
    # not set
    ({"database_url": None}, "^DATABASE_URL is not set; set it to a Postgres of your own"),
    ({"kms_keys": None}, f"^{KMS} is not set; set it to what `openssl rand -base64 32` prints"),
    ({"database_url": "postgresql://a@db/c"}, "^DATABASE_URL has no password; "),
    ({"database_url": "postgresql://a:@db/c"}, "^DATABASE_URL has no password; "),
    ({"database_url": "postgresql://a@/c?host=db"}, "^DATABASE_URL has no password; "),
    ({"database_url": "postgresql://a@%2Frun,db/c"}, "^DATABASE_URL has no password; "),
    ({"database_owner_url": "postgresql://a@db/c"}, "^DATABASE_OWNER_URL has no password; "),
    ({"redis_url": "redis://cache:6379/0"}, "^REDIS_URL has no password; "),
    ({"redis_url": "redis://127.0.0.1"}, "^REDIS_URL has no password; "),
    ({"redis_url": "rediss://name@cache"}, "^REDIS_URL has no password; "),
    ({"redis_url": "redis+cluster://cache-1:6379,cache-2"}, "^REDIS_URL has no password; "),
    # short
    ({"database_url": database("9c1e4f0a7b2d835")}, "in DATABASE_URL is shorter than 16"),
    ({"redis_url": "redis://:9c1e4f0a7b2d835@h"}, "in REDIS_URL is shorter than 16 "),
    ({"redis_url": "redis+cluster://:9c1e4f0a7b2d835@h,i"}, "in REDIS_URL is shorter than 16 "),
    ({"kms_keys": in_base64(os.urandom(16))}, f"^{KMS}: .* (32|base64|empty); "),
    ({"kms_keys": in_base64(os.urandom(64))}, f"^{KMS}: .* (32|base64|empty); "),
    ({"kms_keys": "not in base64 at all, and no key"}, f"^{KMS}: .* (32|base64|empty); "),
    ({"kms_keys": f"{RIGHT['kms_keys']},"}, f"^{KMS}: .* (32|base64|empty); "),
    (
        {"kms_keys": f"{RIGHT['kms_keys']},{RIGHT['kms_keys']}"},
        f"^{KMS}: .* 1 and 2 are the same; ",
    ),
    # published
    ({"auth": {"secret": "a-string-secret-at-least-256-bits-long"}}, f"^{SIGNING} is a value that"),
    ({"auth": {"secret": "change-me-change-me-change-me-change-me"}}, f"^{SIGNING} is a value"),
    ({"auth": {"secret": "x" * 40}}, f"^{SIGNING} is a value that others know"),
    ({"database_url": database("citestream")}, "in DATABASE_URL is a value that others know"),
    ({"database_url": database("ch%61ngeme")}, "in DATABASE_URL is a value that others know"),
    ({"database_owner_url": database("postgres")}, "in DATABASE_OWNER_URL is a value that"),
    ({"redis_url": "redis://:MySuperSecretPassword123@h"}, "in REDIS_URL is a value that others"),
    ({"kms_keys": in_base64(bytes(32))}, f"^{KMS} is a value that others know or can guess"),
    ({"kms_keys": in_base64(b"0123456789abcdef" * 2)}, f"^{KMS} is a value that others know"),
    # identical
    (
        {"redis_url": "redis://:9c1e4f0a7b2d8356e1@h"},
        "DATABASE_URL and .* in REDIS_URL are the sam",
    ),
    ({"database_owner_url": RIGHT["database_url"]}, "in DATABASE_URL and .*OWNER_URL are the same"),
    ({"auth": {"secret": RIGHT["kms_keys"]}}, f"^{KMS} and {SIGNING} are the same"),
    ({"openai_api_key": RIGHT["auth"]["secret"]}, f"^{SIGNING} and OPENAI_API_KEY are the same"),
    # let in, and out
    ({"cors_origins": "*"}, "^CITESTREAM_CORS_ORIGINS lets every site in; "),
    ({"cors_origins": "https://a.example,*"}, "^CITESTREAM_CORS_ORIGINS lets every site in; "),
    ({"log_level": "DEBUG"}, "^CITESTREAM_LOG_LEVEL is debug"),
    ({"auth": {"jwks_url": "http://login/keys"}}, "^CITESTREAM_AUTH__JWKS_URL begins with http://"),
]


@pytest.mark.parametrize(("changed", "says"), WRONG)
def test_a_rule_broken_alone_is_its_own_sentence(changed: dict[str, Any], says: str) -> None:
    [sentence] = complaints(settings(**changed))
    assert re.search(says, sentence), sentence
    assert re.search("; (set|give|name|make|remove) ", sentence), "it says what to do"
    assert sentence.endswith(".") and "\n" not in sentence
    for value in values(changed):
        assert value not in sentence


def values(changed: dict[str, Any]) -> Iterator[str]:
    """The texts that were configured, where they are long enough to be recognised."""
    for value in changed.values():
        if isinstance(value, dict):
            yield from values(value)
        elif value is not None and len(str(value)) > 5:
            yield str(value)
            yield from re.findall(":([^:/@]{6,})@", str(value))


async def test_all_is_said_at_once_and_in_development_nothing() -> None:
    wrong = {
        **RIGHT,
        "database_url": None,
        "redis_url": None,
        "kms_keys": None,
        "log_level": "debug",
    }
    with pytest.raises(ConfigurationError) as refused:
        await refuse_in_production(Settings(**wrong))
    first, *sentences = str(refused.value).split("\n")
    assert first == "Production does not start like this:"
    assert [line.split()[1] for line in sentences] == ["DATABASE_URL", KMS, "CITESTREAM_LOG_LEVEL"]
    await refuse_in_production(Settings(**{**wrong, "environment": "development"}))


def test_who_does_not_serve_needs_no_key_and_no_weak_password() -> None:
    refuse_weak_secrets(settings(kms_keys=None, auth={}, redis_url=None, log_level="debug"))
    with pytest.raises(ConfigurationError, match="in DATABASE_OWNER_URL is a value"):
        refuse_weak_secrets(settings(kms_keys=None, database_owner_url=database("changeme")))
    refuse_weak_secrets(
        settings(environment="development", database_owner_url=database("changeme"))
    )


def test_what_chance_makes_is_never_refused() -> None:
    for _ in range(200):
        for made in (os.urandom(32).hex(), os.urandom(12).hex(), in_base64(os.urandom(12))):
            assert not is_known(made), made
        key = in_base64(os.urandom(32))
        assert not is_known_kms_key(key), key


@pytest.mark.parametrize(
    "value",
    [
        *("changeme", "change-me", "secret", "password", "passw0rd", "citestream", "postgres"),
        *("citestream_app", "citestream_owner", "admin", "redis", "valkey", "letmein", "default"),
        *("12345678", "0123456789", "qwertyuiop", "aaaaaaaaaaaaaaaaaaaa", "abababababababababab"),
        *("your-256-bit-secret", "my-super-secret-password-for-citestream", "Please-Change-Me-1"),
        *("thisisaverysecretkey", "insecure-development-secret-please-replace", "test-secret-key"),
    ],
)
def test_what_people_make_up_is_known(value: str) -> None:
    assert is_known(value)


def test_a_secret_with_a_word_in_it_is_none_of_words() -> None:
    assert not is_known("citestream-production-9c1e4f0a7b2d8356e1")


def test_every_secret_in_the_documentation_is_refused() -> None:
    """Whoever copies one from here has a secret that everybody knows."""
    pages = [ROOT / "README.md", ROOT / ".env.example", *(ROOT / "docs").rglob("*.md")]
    for text in (page.read_text() for page in pages):
        for key in re.findall(r"AGENT_KMS_KEY=['\"]?([A-Za-z0-9+/]{16,}=*)", text):
            assert weak(settings(kms_keys=key)), key
        for secret in re.findall(r"CITESTREAM_AUTH__SECRET=['\"]?([\w-]{8,})", text):
            assert len(secret) < 32 or weak(settings(auth={"secret": secret})), secret
        for url in re.findall(r"postgres(?:ql)?://[\w.-]+:[\w.-]+@[\w.:/-]+", text):
            assert weak(settings(database_url=url)), url
        for url in re.findall(r"rediss?://[\w.-]*:[\w.-]+@[\w.:/-]+", text):
            assert weak(settings(redis_url=url)), url


@pytest.mark.parametrize(
    ("url", "far"),
    [
        ("postgresql://a:b@db.example.org/c", True),
        ("postgresql://a:b@1.2.3.4:5433/c", True),
        ("postgresql://a:b@db.example.org/c?sslmode=prefer", True),
        ("postgresql://a:b@db,db.example.org/c", True),
        ("postgresql://a:b@db.example.org/c?sslmode=verify-full", False),
        ("postgresql://a:b@db/c", False),
        ("postgresql://a:b@10.0.0.7/c", False),
        ("postgresql://a:b@[::1]:5432/c", False),
        ("postgresql://a:b@/c?host=/run/postgresql", False),
    ],
)
def test_traffic_in_the_open_is_a_concern_and_no_refusal(url: str, far: bool) -> None:
    read = settings(database_url=url, database_owner_url=None)
    assert [line.split()[0] for line in concerns(read)] == (["DATABASE_URL"] if far else [])


def test_an_address_that_is_none_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigurationError, match="no address") as refused:
        address("postgresql://a:planted[b@db/c")
    assert "planted" not in str(refused.value)
