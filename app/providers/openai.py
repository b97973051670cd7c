"""OpenAI and every server that speaks its chat API (Ollama, vLLM, llama.cpp)."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI

from app.chat.ports import Finish, Prompt
from app.providers.configs import OpenAIConfig
from app.providers.faults import Vendor
from app.providers.relay import Deadlines, relay
from app.providers.wire import NO_KEY, is_stream, open_client

OPENAI_URL = "https://api.openai.com/v1"
# Left out where a server or model refuses them: older servers do not know stream_options, and
# reasoning models take no temperature.
OPTIONAL_FIELDS = ("stream_options", "temperature")


class OpenAIProvider:
    """One model behind one warm client; `with_model` gives another model on the same client."""

    name = "openai"
    uses_history = True

    def __init__(self, config: OpenAIConfig, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._vendor = Vendor(
            label=label(config.base_url),
            key_variable="OPENAI_API_KEY",
            url_variable="OPENAI_BASE_URL",
            model_variable="OPENAI_MODEL",
        )
        # OpenAI's newer models want the one, the servers that follow its API know the other.
        own = is_own(config.base_url)
        self._limit_field = "max_completion_tokens" if own else "max_tokens"
        self._client = AsyncOpenAI(
            api_key=config.api_key or NO_KEY,
            base_url=config.base_url or OPENAI_URL,
            max_retries=0,
            http_client=open_client(deadlines),
        )
        self._refused: set[tuple[str, str]] = set()  # (model, optional field)
        self.model = config.model

    def with_model(self, model: str) -> "OpenAIProvider":
        """The same configuration and connections with another model."""
        other = object.__new__(OpenAIProvider)
        other.__dict__.update(self.__dict__, model=model)
        return other

    def stream(self, prompt: Prompt) -> AsyncGenerator[str | Finish, None]:
        return relay(lambda: self._call(prompt), self._deadlines)

    async def aclose(self) -> None:
        await self._client.close()

    @asynccontextmanager
    async def _call(self, prompt: Prompt) -> AsyncIterator[httpx2.Response]:
        async with AsyncExitStack() as stack:
            try:
                response = await self._open(stack, self._body(prompt))
            except APIStatusError as error:
                raise self._vendor.refused(
                    error.status_code, error.response.headers, self.model
                ) from error
            except APIConnectionError as error:
                raise self._vendor.unreachable() from error
            if not is_stream(response):
                raise self._vendor.refused(200, response.headers, self.model)
            yield response

    async def _open(self, stack: AsyncExitStack, body: dict[str, Any]) -> httpx2.Response:
        """Make the call, once more without each optional field that is refused."""
        create = self._client.chat.completions.with_streaming_response.create
        while True:
            try:
                response = await stack.enter_async_context(create(**body))
            except APIStatusError as error:
                refused = refused_fields(error, body)
                if not refused:
                    raise
                for name in refused:
                    self._refused.add((self.model, name))
                    del body[name]
            else:
                raw: httpx2.Response = response.http_response
                return raw

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


def refused_fields(error: APIStatusError, body: dict[str, Any]) -> list[str]:
    """The optional fields of `body` that a 400 or 422 names."""
    if error.status_code not in (400, 422):
        return []
    return [name for name in OPTIONAL_FIELDS if name in body and name in error.response.text]


def is_own(base_url: str | None) -> bool:
    return base_url is None or httpx2.URL(base_url).host == httpx2.URL(OPENAI_URL).host


def label(base_url: str | None) -> str:
    """How messages call the server: OpenAI, or a compatible one by its host."""
    if base_url is None or is_own(base_url):
        return "OpenAI"
    return f"The language model at {httpx2.URL(base_url).host}"
