"""Settings → who is believed when they say who somebody is."""

import asyncio
from contextlib import AsyncExitStack

import structlog

from app.identity.claims import Names
from app.identity.tokens import Tokens, Verifier
from app.settings import ConfigurationError, Settings
from app.settings.sections import AuthSettings

log = structlog.get_logger(__name__)


def open_tokens(settings: Settings, stack: AsyncExitStack) -> Tokens:
    """The issuers that are configured: one's own, another one by its keys, both or none. Raises
    ConfigurationError for settings by which no token could ever be good."""
    auth = settings.auth
    verifiers: list[Verifier] = []
    if auth.secret is not None:
        verifiers.append(_own(auth, auth.secret.get_secret_value()))
    if auth.jwks_url is not None:
        verifiers.append(_by_published_keys(auth, auth.jwks_url, stack))
    return Tokens(verifiers, refused=lambda why: log.debug("token refused", reason=why))


def issue_token(settings: Settings, user: str, tenant: str | None, now: int, seconds: int) -> str:
    """A token of the user, by the issuer of one's own. Raises ConfigurationError without one."""
    from app.identity.issuing import issue

    auth = settings.auth
    if auth.secret is None:
        raise ConfigurationError(
            "Set CITESTREAM_AUTH__SECRET to 32 random characters or more; it signs the tokens."
        )
    _own(auth, secret := auth.secret.get_secret_value())  # refuses what is no secret
    return issue(
        secret,
        user,
        tenant,
        issuer=auth.issuer,
        audience=auth.audience,
        names=_names(auth),
        now=now,
        seconds=seconds,
    )


def _own(auth: AuthSettings, secret: str) -> Verifier:
    # Here and below: the import takes 50 ms, for those only who use tokens.
    from app.identity.verifying import OWN_ALGORITHM, JwtVerifier, OwnKey

    try:
        key = OwnKey(secret)
    except ValueError as error:
        raise ConfigurationError(f"CITESTREAM_AUTH__SECRET: {error}") from None
    return JwtVerifier(
        OWN_ALGORITHM, key, issuer=auth.issuer, audience=auth.audience, names=_names(auth)
    )


def _by_published_keys(auth: AuthSettings, url: str, stack: AsyncExitStack) -> Verifier:
    from app.identity.fetching import Document
    from app.identity.jwks import IssuerKeys
    from app.identity.verifying import JwtVerifier

    if "issuer" not in auth.model_fields_set:
        raise ConfigurationError(
            "CITESTREAM_AUTH__JWKS_URL is set, so set CITESTREAM_AUTH__ISSUER too: to what that "
            "issuer's tokens have as `iss`."
        )
    document = Document(url)
    stack.push_async_callback(document.aclose)
    keys = IssuerKeys(document.fetch, auth.algorithm)
    stack.push_async_callback(keys.aclose)
    keeping = asyncio.create_task(keys.keep_fresh(), name="keeper of the issuer's keys")
    stack.push_async_callback(_end, keeping)
    return JwtVerifier(
        auth.algorithm, keys, issuer=auth.issuer, audience=auth.audience, names=_names(auth)
    )


async def _end(keeping: asyncio.Task[None]) -> None:
    keeping.cancel()
    await asyncio.wait({keeping})


def _names(auth: AuthSettings) -> Names:
    return Names(auth.user_claim, auth.tenant_claim)
