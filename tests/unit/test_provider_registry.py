"""Which provider answers for which agent, and what an operator reads when it cannot."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.chat.model import Agent
from app.errors import InvalidInput
from app.providers.configs import MistralConfig, OpenAIConfig
from app.providers.faults import retry_after
from app.providers.mistral import without_version
from app.providers.openai import OpenAIProvider, is_own, label
from app.providers.registry import ConfiguredProviders
from app.providers.relay import Deadlines

AGENT = Agent(1, "guide", "", "auto", None, None, 5, 500, 0.2, version=1)
OPENAI = OpenAIConfig("sk-secret", "gpt-env")
MISTRAL = MistralConfig("secret", "mistral-env")


@pytest.fixture
async def both() -> AsyncIterator[ConfiguredProviders]:
    providers = ConfiguredProviders(OPENAI, MISTRAL, Deadlines())
    yield providers
    await providers.aclose()


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("auto", None, ("openai", "gpt-env")),
        ("auto", "agents-own", ("openai", "gpt-env")),
        ("openai", None, ("openai", "gpt-env")),
        ("openai", "agents-own", ("openai", "agents-own")),
        ("mistral", None, ("mistral", "mistral-env")),
        ("mistral", "agents-own", ("mistral", "agents-own")),
        ("extractive", None, ("extractive", "extractive-1")),
        ("extractive", "agents-own", ("extractive", "extractive-1")),
    ],
)
async def test_resolution(
    both: ConfiguredProviders, provider: str, model: str | None, expected: tuple[str, str]
) -> None:
    found = both.for_agent(replace(AGENT, provider=provider, model=model))
    assert (found.name, found.model) == expected


async def test_auto_takes_what_there_is() -> None:
    only_mistral = ConfiguredProviders(None, MISTRAL, Deadlines())
    assert only_mistral.for_agent(AGENT).name == "mistral"
    await only_mistral.aclose()
    nothing = ConfiguredProviders(None, None, Deadlines())
    assert nothing.for_agent(AGENT).name == "extractive"
    await nothing.aclose()


@pytest.mark.parametrize(
    ("provider", "says"),
    [("openai", "OPENAI_API_KEY"), ("mistral", "MISTRAL_API_KEY"), ("other", "extractive")],
)
async def test_what_is_not_configured_is_refused(provider: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        ConfiguredProviders(None, None, Deadlines()).for_agent(replace(AGENT, provider=provider))


async def test_a_fallback_that_is_no_longer_configured_stops_nothing() -> None:
    providers = ConfiguredProviders(OPENAI, None, Deadlines())
    found = providers.for_agent(replace(AGENT, fallback_provider="mistral"))
    assert (found.name, found.model) == ("openai", "gpt-env")
    await providers.aclose()


def test_keys_do_not_show() -> None:
    assert "secret" not in repr(OPENAI) + repr(MISTRAL)


@pytest.mark.parametrize(
    ("url", "own", "called"),
    [
        (None, True, "OpenAI"),
        ("https://api.openai.com/v1", True, "OpenAI"),
        ("http://127.0.0.1:11434/v1", False, "The language model at 127.0.0.1"),
        ("https://user:pass@llm.example/v1", False, "The language model at llm.example"),
    ],
)
def test_whose_api_it_is(url: str | None, own: bool, called: str) -> None:
    assert (is_own(url), label(url)) == (own, called)


@pytest.mark.parametrize(
    ("url", "field"),
    [(None, "max_completion_tokens"), ("http://127.0.0.1:11434/v1", "max_tokens")],
)
async def test_the_limit_goes_by_the_name_the_server_knows(url: str | None, field: str) -> None:
    provider = OpenAIProvider(OpenAIConfig("k", "m", url), Deadlines())
    assert provider._limit_field == field
    await provider.aclose()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, None),
        ("http://host", "http://host"),
        ("http://host/v1/", "http://host"),
        ("http://host/llm/v1", "http://host/llm"),
    ],
)
def test_the_version_is_not_doubled(url: str | None, expected: str | None) -> None:
    assert without_version(url) == expected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds
