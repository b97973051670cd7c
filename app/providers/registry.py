"""Which provider answers for an agent, given what the operator configured."""

from app.chat.model import Agent
from app.chat.ports import Provider
from app.errors import InvalidInput
from app.providers.extractive import ExtractiveProvider
from app.providers.mistral import MistralConfig, MistralProvider
from app.providers.openai import OpenAIConfig, OpenAIProvider
from app.providers.relay import Deadlines

NEEDS = {
    "openai": "OPENAI_API_KEY (or OPENAI_BASE_URL for a server of your own)",
    "mistral": "MISTRAL_API_KEY (or MISTRAL_SERVER_URL for a server of your own)",
}


class ConfiguredProviders:
    """One client for each configured vendor, kept until `aclose`."""

    def __init__(
        self,
        openai: OpenAIConfig | None,
        mistral: MistralConfig | None,
        deadlines: Deadlines,
    ) -> None:
        self._extractive = ExtractiveProvider()
        self._vendors: dict[str, OpenAIProvider | MistralProvider] = {}
        if openai:
            self._vendors["openai"] = OpenAIProvider(openai, deadlines)
        if mistral:
            self._vendors["mistral"] = MistralProvider(mistral, deadlines)

    def for_agent(self, agent: Agent) -> Provider:
        """The provider the agent names, or for "auto" openai, mistral, extractive: the first
        that is configured, with the environment's model. InvalidInput where it is not."""
        if agent.provider == "auto":
            return next(iter(self._vendors.values()), self._extractive)
        if agent.provider == "extractive":
            return self._extractive
        vendor = self._vendors.get(agent.provider)
        if vendor is None:
            raise InvalidInput(refusal(agent))
        return vendor.with_model(agent.model) if agent.model else vendor

    async def aclose(self) -> None:
        """Close every client's connections."""
        for vendor in self._vendors.values():
            await vendor.aclose()


def refusal(agent: Agent) -> str:
    named = f'The agent "{agent.name}" uses the provider "{agent.provider}"'
    if agent.provider in NEEDS:
        return f"{named}, which is not configured; set {NEEDS[agent.provider]} and start again."
    return f"{named}, which does not exist; choose auto, openai, mistral or extractive."
