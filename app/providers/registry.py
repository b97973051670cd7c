"""Which provider answers for an agent, given what the operator configured."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from app.chat.model import Agent
from app.chat.ports import Provider
from app.errors import InvalidInput
from app.providers.breaker import Breaker, BreakerLimits, Breakers
from app.providers.configs import MistralConfig, OpenAIConfig
from app.providers.extractive import ExtractiveProvider
from app.providers.policy import Attempts, Guarded, ResilientProvider
from app.providers.relay import Deadlines

if TYPE_CHECKING:
    from app.providers.mistral import MistralProvider
    from app.providers.openai import OpenAIProvider

    AnyVendor = OpenAIProvider | MistralProvider

NEEDS = {
    "openai": "OPENAI_API_KEY (or OPENAI_BASE_URL for a server of your own)",
    "mistral": "MISTRAL_API_KEY (or MISTRAL_SERVER_URL for a server of your own)",
}


class ConfiguredProviders:
    """One client and one breaker for each configured vendor, kept until `aclose`."""

    def __init__(
        self,
        openai: OpenAIConfig | None,
        mistral: MistralConfig | None,
        deadlines: Deadlines,
        attempts: Attempts | None = None,
        limits: BreakerLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attempts = attempts or Attempts(first_token_seconds=deadlines.first_token_seconds)
        breakers = Breakers(limits or BreakerLimits(), clock)
        self._extractive = ExtractiveProvider()
        self._vendors: dict[str, AnyVendor] = {}
        self._breakers: dict[str, Breaker] = {"extractive": breakers.of("extractive")}
        # Not at the top: each brings its SDK, both together 18 MB and half a second.
        if openai:
            from app.providers.openai import OpenAIProvider

            self._vendors["openai"] = OpenAIProvider(openai, deadlines)
            self._breakers["openai"] = breakers.of("openai", openai.base_url, openai.api_key)
        if mistral:
            from app.providers.mistral import MistralProvider

            self._vendors["mistral"] = MistralProvider(mistral, deadlines)
            self._breakers["mistral"] = breakers.of("mistral", mistral.server_url, mistral.api_key)

    def for_agent(self, agent: Agent) -> Provider:
        """The provider the agent names, or for "auto" openai, mistral, extractive: the first
        that is configured, with the environment's model. InvalidInput where it is not.

        Behind it the agent's fallback; one that is no longer configured is none, because taking
        a safety net away must not stop what works without it.
        """
        return ResilientProvider(self._guarded(self._named(agent)), self._fallback(agent))

    def _fallback(self, agent: Agent) -> Guarded | None:
        name = agent.fallback_provider
        if name is None or name not in self._breakers:
            return None
        return self._guarded(self._named(replace(agent, provider=name, model=agent.fallback_model)))

    def _named(self, agent: Agent) -> Provider:
        if agent.provider == "auto":
            return next(iter(self._vendors.values()), self._extractive)
        if agent.provider == "extractive":
            return self._extractive
        vendor = self._vendors.get(agent.provider)
        if vendor is None:
            raise InvalidInput(refusal(agent))
        return vendor.with_model(agent.model) if agent.model else vendor

    def _guarded(self, provider: Provider) -> Guarded:
        return Guarded(provider, self._breakers[provider.name], self._attempts, random.random)

    async def aclose(self) -> None:
        """Close every client's connections."""
        for vendor in self._vendors.values():
            await vendor.aclose()


def refusal(agent: Agent) -> str:
    named = f'The agent "{agent.name}" uses the provider "{agent.provider}"'
    if agent.provider in NEEDS:
        return f"{named}, which is not configured; set {NEEDS[agent.provider]} and start again."
    return f"{named}, which does not exist; choose auto, openai, mistral or extractive."
