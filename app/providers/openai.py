"""OpenAI and every server that speaks its chat API (Ollama, vLLM, llama.cpp)."""

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

from app.chat.ports import Finish, Prompt
from app.outgoing.exchange import Exchange
from app.outgoing.guard import Resolve, resolve
from app.outgoing.pool import MAX_CONNECTIONS
from app.providers.configs import OpenAIConfig
from app.providers.faults import Vendor, of_agent
from app.providers.relay import Deadlines, relay
from app.providers.wire import NO_KEY, Api, Refused, under

OPENAI_URL = "https://api.openai.com/v1"
# Left out where a server or model refuses them: older servers do not know stream_options, and
# reasoning models take no temperature.
OPTIONAL_FIELDS = ("stream_options", "temperature")


class OpenAIProvider:
    """One model over warm connections; `with_model` gives another model over the same ones."""

    name = "openai"
    uses_history = True

    def __init__(
        self,
        config: OpenAIConfig,
        deadlines: Deadlines,
        connections: int = MAX_CONNECTIONS,
        addresses: Resolve = resolve,
    ) -> None:
        """`addresses` finds those of the host (see `Guard.addresses`)."""
        self._deadlines = deadlines
        self._vendor = of_agent(label(config.base_url)) if config.of_agent else _operators(config)
        # OpenAI's newer models want the one, the servers that follow its API know the other.
        own = is_own(config.base_url)
        self._limit_field = "max_completion_tokens" if own else "max_tokens"
        self._api = Api(
            under(config.base_url or OPENAI_URL, "/chat/completions"),
            config.api_key or NO_KEY,
            self._vendor,
            accept="application/json",
            connect_seconds=deadlines.connect_seconds,
            connections=connections,
            addresses=addresses,
        )
        self._refused: set[tuple[str, str]] = set()  # (model, optional field)
        self.model = config.model

    def with_model(self, model: str) -> "OpenAIProvider":
        """The same configuration and connections with another model."""
        other = object.__new__(OpenAIProvider)
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
        """Make the call, once more without each optional field that is refused."""
        body = self._body(prompt)
        while True:
            try:
                return await self._api.post(body)
            except Refused as error:
                refused = refused_fields(error, body)
                if not refused:
                    raise self._vendor.refused(error.status, error.headers, self.model) from error
            for name in refused:
                self._refused.add((self.model, name))
                del body[name]

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": prompt.temperature,
            self._limit_field: prompt.max_tokens,
        }
        for name in OPTIONAL_FIELDS:
            if (self.model, name) in self._refused:
                del body[name]
        return body


def refused_fields(error: Refused, body: dict[str, Any]) -> list[str]:
    """The optional fields of `body` that a 400 or 422 names."""
    if error.status not in (400, 422):
        return []
    return [name for name in OPTIONAL_FIELDS if name in body and name in error.text]


def _operators(config: OpenAIConfig) -> Vendor:
    return Vendor(
        label=label(config.base_url),
        key_variable="OPENAI_API_KEY",
        url_variable="OPENAI_BASE_URL",
        model_variable="OPENAI_MODEL",
    )


def is_own(base_url: str | None) -> bool:
    return base_url is None or urlsplit(base_url).hostname == urlsplit(OPENAI_URL).hostname


def label(base_url: str | None) -> str:
    """How messages call the server: OpenAI, or a compatible one by its host."""
    if base_url is None or is_own(base_url):
        return "OpenAI"
    return f"The language model at {urlsplit(base_url).hostname}"
