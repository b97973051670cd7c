"""Issuers as the settings name them, with keys that are fetched from a real server."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from app.bootstrap.identity import issue_token, open_tokens
from app.errors import Unauthorized
from app.identity.jwks import KeysUnavailable
from app.identity.tokens import NOT_CONFIGURED, Tokens
from app.settings import ConfigurationError, Settings
from app.settings.sections import AuthSettings
from tests.support.keys_site import Site, answer, serving
from tests.support.tokens import EMAIL, ISSUER, SECRET, Issuer, key_set

RSA = Issuer()


def configured(**auth: Any) -> Settings:
    return Settings(auth=AuthSettings(**auth))


def own(settings: Settings, tenant: str | None = None) -> str:
    return issue_token(settings, EMAIL, tenant, int(time.time()), 60)


async def refused(tokens: Tokens, token: str) -> str:
    with pytest.raises(Unauthorized) as raised:
        await tokens.verify(token)
    return raised.value.message


async def test_both_issuers_side_by_side() -> None:
    async with serving(Site(answer(key_set(RSA.jwk())))) as site, AsyncExitStack() as stack:
        settings = configured(
            secret=SecretStr(SECRET), jwks_url=site.url, issuer=ISSUER, algorithm="RS256"
        )
        tokens = open_tokens(settings, stack)
        for token in (own(settings, "acme"), RSA.token(tenant="acme")):
            found = await tokens.verify(token)
            assert (found.user, found.tenant) == (EMAIL, "acme")
        await refused(tokens, Issuer("ES256").token())
        assert len(site.requests) == 1
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not [name for name in names if "issuer" in name]


async def test_other_names_of_claims_and_another_audience() -> None:
    names = {"user_claim": "upn", "tenant_claim": "org", "audience": "chat"}
    async with serving(Site(answer(key_set(RSA.jwk())))) as site, AsyncExitStack() as stack:
        tokens = open_tokens(configured(jwks_url=site.url, issuer=ISSUER, **names), stack)
        found = await tokens.verify(RSA.token(aud="chat", upn="ada", org="acme", email=None))
        assert (found.user, found.tenant) == ("ada", "acme")
        await refused(tokens, RSA.token(aud="chat"))
        await refused(tokens, RSA.token(upn="ada"))


async def test_while_the_issuer_was_never_reached_it_is_not_the_tokens_fault() -> None:
    async with serving(Site()) as gone:
        url = gone.url
    async with AsyncExitStack() as stack:
        tokens = open_tokens(configured(jwks_url=url, issuer=ISSUER), stack)
        with pytest.raises(KeysUnavailable):
            await tokens.verify(RSA.token())


async def test_nothing_is_configured_to_begin_with() -> None:
    async with AsyncExitStack() as stack:
        tokens = open_tokens(Settings(), stack)
        assert await refused(tokens, RSA.token()) == NOT_CONFIGURED
    with pytest.raises(ConfigurationError, match="CITESTREAM_AUTH__SECRET"):
        own(Settings())


@pytest.mark.parametrize(
    ("auth", "says"),
    [
        ({"jwks_url": "https://login.example.com/keys"}, "CITESTREAM_AUTH__ISSUER"),
        ({"secret": SecretStr(RSA.pem().decode())}, "CITESTREAM_AUTH__SECRET"),
    ],
)
async def test_settings_by_which_no_token_is_good_are_refused(
    auth: dict[str, Any], says: str
) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigurationError, match=says):
            open_tokens(configured(**auth), stack)


async def test_a_token_shows_nothing_but_what_it_has_to() -> None:
    settings = configured(secret=SecretStr(SECRET))
    shown = jwt.decode(own(settings), options={"verify_signature": False})
    assert shown.keys() == {"iss", "aud", "iat", "exp", "email"}
