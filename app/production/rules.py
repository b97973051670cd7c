"""What production asks of the settings, a sentence for each thing to set. Pure."""

from itertools import chain

from pydantic import SecretStr

from app.production.addresses import address
from app.production.secrets import (
    PASSWORD_CHARS,
    SIGNING_CHARS,
    Secret,
    is_known_kms_key,
    weaknesses,
)
from app.settings import Settings

NEW_SECRET = "set it to what `openssl rand -hex 32` prints"  # noqa: S105 — how one is made
NEW_KMS_KEY = "set it to what `openssl rand -base64 32` prints"
NEW_PASSWORD = "give the server a new one (`openssl rand -hex 32` prints one) and set it here"  # noqa: S105


def complaints(settings: Settings) -> list[str]:
    """All that stands against serving with these settings; empty where nothing does."""
    return [*missing(settings), *weak(settings), *exposed(settings)]


def missing(settings: Settings) -> list[str]:
    """What has to be set and is not."""
    found = []
    if settings.database_url is None:
        found.append(
            "DATABASE_URL is not set; set it to a Postgres of your own, because the embedded one "
            "is for trying it out."
        )
    if settings.kms_keys is None:
        found.append(
            f"AGENT_KMS_KEY is not set; {NEW_KMS_KEY} and keep a copy, because agents' provider "
            "keys are lost without it."
        )
    return found


def weak(settings: Settings) -> list[str]:
    """What is set and protects nothing: for every command that uses it."""
    return [
        *_open_databases(settings),
        *_open_redis(settings),
        *_wrong_kms_keys(settings),
        *weaknesses(list(_secrets(settings))),
    ]


def exposed(settings: Settings) -> list[str]:
    """What lets in, or out, more than production should."""
    found = []
    if "*" in settings.cors_origins:
        found.append(
            "CITESTREAM_CORS_ORIGINS lets every site in; name those whose pages call the API, or "
            "unset it."
        )
    if settings.log_level.lower() == "debug":
        found.append(
            "CITESTREAM_LOG_LEVEL is debug, at which libraries log what they send and receive; set "
            "it to info."
        )
    if (settings.auth.jwks_url or "").startswith("http://"):
        found.append(
            "CITESTREAM_AUTH__JWKS_URL begins with http://, so that anybody on the way can replace "
            "the keys; set it to an https:// address."
        )
    return found


def concerns(settings: Settings) -> list[str]:
    """What may be right here, and is worth a line in the log."""
    return [
        f"{variable} names a server in another network without sslmode=require or verify-full; "
        "what is read and written there may cross it in the open."
        for variable, url in _databases(settings).items()
        if address(url).in_the_open
    ]


def _databases(settings: Settings) -> dict[str, str]:
    urls = {
        "DATABASE_URL": settings.database_url,
        "DATABASE_OWNER_URL": settings.database_owner_url,
    }
    return {variable: url for variable, url in urls.items() if url is not None}


def _open_databases(settings: Settings) -> list[str]:
    return [
        f"{variable} has no password; give its role one and set it there, or connect by a unix "
        "socket (?host=/run/postgresql)."
        for variable, url in _databases(settings).items()
        if not address(url).guarded
    ]


def _open_redis(settings: Settings) -> list[str]:
    if settings.redis_url is None or address(settings.redis_url).guarded:
        return []
    return [
        "REDIS_URL has no password; give the server one (requirepass) and set it there, or connect "
        "by a unix socket (unix:///run/valkey/valkey.sock)."
    ]


def kms_keys(settings: Settings) -> list[str]:
    """The keys of AGENT_KMS_KEY, as they are written."""
    written = _text(settings.kms_keys)
    return [key.strip() for key in written.split(",")] if written else []


def _wrong_kms_keys(settings: Settings) -> list[str]:
    keys = kms_keys(settings)
    if not keys:
        return []
    # Not above: 6 MB of cryptography, which a parent of workers needs for nothing else.
    from app.vault.keyring import InvalidKeys, parse_keys

    try:
        parse_keys(_text(settings.kms_keys))
    except InvalidKeys as error:
        return [f"AGENT_KMS_KEY: {error}"]
    if any(map(is_known_kms_key, keys)):
        return [f"AGENT_KMS_KEY is a value that others know or can guess; {NEW_KMS_KEY}."]
    return []


def _secrets(settings: Settings) -> "chain[Secret]":
    return chain(_own(settings), _of_vendors(settings))


def _own(settings: Settings) -> list[Secret]:
    found = [Secret("AGENT_KMS_KEY", key) for key in dict.fromkeys(kms_keys(settings))]
    signing = _text(settings.auth.secret)
    found.append(Secret("CITESTREAM_AUTH__SECRET", signing, NEW_SECRET, SIGNING_CHARS))
    urls = _databases(settings)
    if settings.redis_url is not None:
        urls["REDIS_URL"] = settings.redis_url
    for variable, url in urls.items():
        name, password = f"The password in {variable}", address(url).password
        found.append(Secret(name, password, NEW_PASSWORD, PASSWORD_CHARS))
    return [secret for secret in found if secret.value]


def _of_vendors(settings: Settings) -> list[Secret]:
    following = settings.next_encoder
    keys = {
        "OPENAI_API_KEY": settings.openai_api_key,
        "MISTRAL_API_KEY": settings.mistral_api_key,
        "CITESTREAM_ENCODER__API_KEY": settings.encoder.api_key,
        "CITESTREAM_RERANKER__API_KEY": settings.reranker.api_key,
        "CITESTREAM_NEXT_ENCODER__API_KEY": following.api_key if following else None,
    }
    return [Secret(name, text, own=False) for name, key in keys.items() if (text := _text(key))]


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
