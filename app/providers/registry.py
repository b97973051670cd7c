"""Which provider answers for an agent, given what the operator configured and what it has itself.

The operator's key goes to the operator's address. An agent's key goes where it was entered for, and
an agent's address is sent that agent's key or none.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from app.chat.model import Agent
from app.chat.ports import Provider
from app.errors import InvalidInput, ProviderRejected
from app.outgoing.guard import resolve
from app.outgoing.pool import MAX_CONNECTIONS
from app.providers.breaker import Breaker, BreakerLimits, Breakers
from app.providers.configs import MistralConfig, OpenAIConfig
from app.providers.extractive import ExtractiveProvider
from app.providers.mistral import MistralProvider
from app.providers.openai import OpenAIProvider
from app.providers.own import Destination, Own, OwnConnections, Vendor
from app.providers.policy import Attempts, Guarded, ResilientProvider
from app.providers.relay import Deadlines
from app.vault.sealing import Undecryptable

NEEDS = {
    "openai": "OPENAI_API_KEY (or OPENAI_BASE_URL for a server of your own)",
    "mistral": "MISTRAL_API_KEY (or MISTRAL_SERVER_URL for a server of your own)",
}


class ConfiguredProviders:
    """One client and one breaker for each configured vendor, kept until `aclose`, and for each
    that agents bring along, kept while it is used."""

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
        own: Own | None = None,
    ) -> None:
        """`connections` is the most there may be to each vendor: one for each open stream."""
        self._traced = traced
        self._attempts = attempts or Attempts(first_token_seconds=deadlines.first_token_seconds)
        self._deadlines = deadlines
        self._connections = connections
        limits = limits or BreakerLimits()
        breakers = Breakers(limits, clock)
        self._extractive = ExtractiveProvider()
        self._vendors: dict[str, Vendor] = {}
        self._breakers: dict[str, Breaker] = {"extractive": breakers.of("extractive")}
        self._addresses: dict[str, str | None] = {}
        if openai:
            self._vendors["openai"] = OpenAIProvider(openai, deadlines, connections)
            self._breakers["openai"] = breakers.of("openai", openai.base_url, openai.api_key)
            self._addresses["openai"] = openai.base_url
        if mistral:
            self._vendors["mistral"] = MistralProvider(mistral, deadlines, connections)
            self._breakers["mistral"] = breakers.of("mistral", mistral.server_url, mistral.api_key)
            self._addresses["mistral"] = mistral.server_url
        self._own = own or Own()
        self._agents = OwnConnections(
            self._connect, lambda provider: Breaker(provider, limits, clock), clock
        )

    def for_agent(self, agent: Agent) -> Provider:
        """The provider the agent names, or for "auto" openai, mistral, extractive: the first
        that is configured, with the environment's model. InvalidInput where it is not,
        ProviderRejected where the agent's own key cannot be read any more.

        Behind it the agent's fallback; one that is no longer configured is none, because taking
        a safety net away must not stop what works without it.
        """
        return ResilientProvider(
            self._of_agent(agent) if _brings_along(agent) else self._of_operator(agent),
            self._fallback(agent),
        )

    def check(self, agent: Agent, *, own_key: bool) -> None:
        """Raise InvalidInput for an agent that nobody could answer for; `own_key` says that it
        has a key of its own."""
        if own_key or agent.base_url is not None:
            self._check_own(agent)
        else:
            self._named(agent)
        if agent.fallback_provider is not None:
            self._named(_as_fallback(agent, agent.fallback_provider))

    def _check_own(self, agent: Agent) -> None:
        if agent.provider not in NEEDS:
            raise InvalidInput(
                "An agent with a `base_url` or an `api_key` of its own names whose API it speaks: "
                "set `provider` to openai or mistral."
            )
        if agent.base_url is not None:
            self._check_address(agent.base_url)

    def _check_address(self, base_url: str) -> None:
        target = self._own.guard.check_url(base_url)
        if "?" in base_url or "#" in base_url:
            raise InvalidInput("The `base_url` ends with a path, without ? and # behind it.")
        if not (target.tls or self._own.guard.allows(target.host)):
            raise InvalidInput(
                "Over http:// the key and every question would travel in the open: take https:// "
                "for the `base_url`, or have the operator name its host in ALLOW_PRIVATE_HOSTS."
            )

    def _fallback(self, agent: Agent) -> Guarded | None:
        """Always the operator's."""
        name = agent.fallback_provider
        if name is None or name not in self._breakers:
            return None
        return self._of_operator(_as_fallback(agent, name))

    def _of_operator(self, agent: Agent) -> Guarded:
        provider = self._named(agent)
        return self._guarded(provider, self._breakers[provider.name])

    def _named(self, agent: Agent) -> Provider:
        if agent.provider == "auto":
            return next(iter(self._vendors.values()), self._extractive)
        if agent.provider == "extractive":
            return self._extractive
        vendor = self._vendors.get(agent.provider)
        if vendor is None:
            raise InvalidInput(refusal(agent))
        return vendor.with_model(agent.model) if agent.model else vendor

    def _of_agent(self, agent: Agent) -> Guarded:
        key = self._key(agent)
        found = self._agents.of(Destination(agent.provider, agent.tenant_id, agent.base_url, key))
        vendor = found.vendor.with_model(agent.model) if agent.model else found.vendor
        return self._guarded(vendor, found.breaker)

    def _key(self, agent: Agent) -> str:
        """The agent's own, or none at all for an address of its own."""
        if agent.sealed_key is None:
            return ""
        try:
            return self._own.keys.open(
                agent.sealed_key, agent.tenant_id, agent.id, agent.provider, agent.base_url
            )
        except Undecryptable as error:
            raise ProviderRejected(
                f'The API key of the agent "{agent.name}" cannot be decrypted any more; '
                "enter the agent's `api_key` again."
            ) from error

    def _connect(self, to: Destination) -> Vendor:
        """A tenant's address is reached past the guard only; the operator's is his own affair."""
        base_url, addresses = to.base_url, self._own.guard.addresses
        if base_url is None:
            base_url, addresses = self._addresses.get(to.provider), resolve
        else:
            try:
                self._check_address(base_url)  # what was allowed once may not be any more
            except InvalidInput as error:
                raise ProviderRejected(error.message) from error
        given = (self._deadlines, self._connections, addresses)
        if to.provider == "mistral":
            model = self._model(to.provider)
            return MistralProvider(MistralConfig(to.key, model, base_url, of_agent=True), *given)
        config = OpenAIConfig(to.key, self._model(to.provider), base_url, of_agent=True)
        return OpenAIProvider(config, *given)

    def _model(self, provider: str) -> str:
        configured = self._vendors.get(provider)
        return configured.model if configured else self._own.models.get(provider, "")

    def _guarded(self, provider: Provider, breaker: Breaker) -> Guarded:
        return Guarded(self._traced(provider), breaker, self._attempts, random.random)

    def breakers(self) -> Mapping[str, str]:
        """How the operator's providers' breakers stand: "closed", "half open" or "open"."""
        return {name: breaker.state for name, breaker in self._breakers.items()}

    def statistics(self) -> Mapping[str, Mapping[str, int]]:
        """Connections by vendor; `agents` are those that agents have brought along."""
        found = {name: vendor.statistics() for name, vendor in self._vendors.items()}
        agents = self._agents.statistics()
        return {**found, "agents": agents} if agents else found

    async def aclose(self) -> None:
        """Close every client's connections."""
        for vendor in self._vendors.values():
            await vendor.aclose()
        await self._agents.aclose()


def _brings_along(agent: Agent) -> bool:
    """False for a provider that has neither keys nor addresses, whatever a row says."""
    return agent.provider in NEEDS and (agent.base_url is not None or agent.sealed_key is not None)


def _as_fallback(agent: Agent, provider: str) -> Agent:
    return replace(
        agent, provider=provider, model=agent.fallback_model, base_url=None, sealed_key=None
    )


def refusal(agent: Agent) -> str:
    named = f'The agent "{agent.name}" uses the provider "{agent.provider}"'
    if agent.provider in NEEDS:
        return f"{named}, which is not configured; set {NEEDS[agent.provider]} and start again."
    return f"{named}, which does not exist; choose auto, openai, mistral or extractive."
