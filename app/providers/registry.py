"""Which provider answers for an agent, given what the operator configured."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from app.chat.model import Agent
from app.chat.ports import Provider
from app.errors import InvalidInput
from app.providers.breaker import Breaker, BreakerLimits, Breakers
from app.providers.configs import MistralConfig, OpenAIConfig
from app.providers.extractive import ExtractiveProvider
from app.providers.mistral import MistralProvider
from app.providers.openai import OpenAIProvider
from app.providers.policy import Attempts, Guarded, ResilientProvider
from app.providers.pool import MAX_CONNECTIONS
from app.providers.relay import Deadlines

AnyVendor: TypeAlias = OpenAIProvider | MistralProvider

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
        traced: Callable[[Provider], Provider] = lambda provider: provider,
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        """`connections` is the most there may be to each vendor: one for each open stream."""
        self._traced = traced
        self._attempts = attempts or Attempts(first_token_seconds=deadlines.first_token_seconds)
        breakers = Breakers(limits or BreakerLimits(), clock)
        self._extractive = ExtractiveProvider()
        self._vendors: dict[str, AnyVendor] = {}
        self._breakers: dict[str, Breaker] = {"extractive": breakers.of("extractive")}
        if openai:
            self._vendors["openai"] = OpenAIProvider(openai, deadlines, connections)
            self._breakers["openai"] = breakers.of("openai", openai.base_url, openai.api_key)
        if mistral:
            self._vendors["mistral"] = MistralProvider(mistral, deadlines, connections)
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
        traced = self._traced(provider)
        return Guarded(traced, self._breakers[provider.name], self._attempts, random.random)

    def breakers(self) -> Mapping[str, str]:
        """How each provider's breaker stands: "closed", "half open" or "open"."""
        return {name: breaker.state for name, breaker in self._breakers.items()}

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """Connections by vendor."""
        return {name: vendor.statistics() for name, vendor in self._vendors.items()}

    async def aclose(self) -> None:
        """Close every client's connections."""
        for vendor in self._vendors.values():
            await vendor.aclose()


def refusal(agent: Agent) -> str:
    named = f'The agent "{agent.name}" uses the provider "{agent.provider}"'
    if agent.provider in NEEDS:
        return f"{named}, which is not configured; set {NEEDS[agent.provider]} and start again."
    return f"{named}, which does not exist; choose auto, openai, mistral or extractive."
