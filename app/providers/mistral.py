"""Mistral, and servers that speak its chat API."""

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

from app.chat.ports import Finish, Prompt
from app.outgoing.exchange import Exchange
from app.outgoing.guard import Resolve, resolve
from app.outgoing.pool import MAX_CONNECTIONS
from app.providers.configs import MistralConfig
from app.providers.faults import Vendor, of_agent
from app.providers.relay import Deadlines, relay
from app.providers.wire import NO_KEY, Api, Refused, under

MISTRAL_URL = "https://api.mistral.ai"
VENDOR = Vendor(
    label="Mistral",
    key_variable="MISTRAL_API_KEY",
    url_variable="MISTRAL_SERVER_URL",
    model_variable="MISTRAL_MODEL",
)


class MistralProvider:
    """One model over warm connections; `with_model` gives another model over the same ones."""

    name = "mistral"
    uses_history = True

    def __init__(
        self,
        config: MistralConfig,
        deadlines: Deadlines,
        connections: int = MAX_CONNECTIONS,
        addresses: Resolve = resolve,
    ) -> None:
        """`addresses` finds those of the host (see `Guard.addresses`)."""
        self._deadlines = deadlines
        self._vendor = of_agent(label(config.server_url)) if config.of_agent else VENDOR
        self._api = Api(
            under(without_version(config.server_url) or MISTRAL_URL, "/v1/chat/completions"),
            config.api_key or NO_KEY,
            self._vendor,
            accept="text/event-stream",
            connect_seconds=deadlines.connect_seconds,
            connections=connections,
            addresses=addresses,
        )
        self.model = config.model

    def with_model(self, model: str) -> "MistralProvider":
        """The same configuration and connections with another model."""
        other = object.__new__(MistralProvider)
        other.__dict__.update(self.__dict__, model=model)
        return other

    def stream(self, prompt: Prompt) -> AsyncGenerator[list[str] | Finish, None]:
        return relay(lambda: self._call(prompt), self._deadlines)

    def statistics(self) -> dict[str, int]:
        """Of the connections."""
        return self._api.statistics()

    def retire(self) -> None:
        """Keep no connection beyond its answer."""
        self._api.retire()

    async def aclose(self) -> None:
        await self._api.aclose()

    async def _call(self, prompt: Prompt) -> Exchange:
        try:
            return await self._api.post(self._body(prompt))
        except Refused as error:
            raise self._vendor.refused(error.status, error.headers, self.model) from error

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "stream": True,
            "temperature": prompt.temperature,
            "max_tokens": prompt.max_tokens,
        }


def label(server_url: str | None) -> str:
    """How messages call an agent's own server."""
    return f"The language model at {urlsplit(server_url).hostname}" if server_url else "Mistral"


def without_version(server_url: str | None) -> str | None:
    """`http://host/v1` as `http://host`: the version is in the call's path."""
    return server_url and server_url.rstrip("/").removesuffix("/v1")
