"""Mistral, and servers that speak its chat API."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2
from mistralai.client import Mistral, errors

from app.chat.ports import Finish, Prompt
from app.providers.configs import MistralConfig
from app.providers.faults import Vendor
from app.providers.relay import Deadlines, relay
from app.providers.wire import NO_KEY, open_client

CALL_HEADER = "x-request-id"
VENDOR = Vendor(
    label="Mistral",
    key_variable="MISTRAL_API_KEY",
    url_variable="MISTRAL_SERVER_URL",
    model_variable="MISTRAL_MODEL",
)


class MistralProvider:
    """One model behind one warm client; `with_model` gives another model on the same client."""

    name = "mistral"
    uses_history = True

    def __init__(self, config: MistralConfig, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._responses: dict[str, httpx2.Response] = {}  # by CALL_HEADER, while calls run
        self._http = open_client(deadlines)
        self._http.event_hooks["response"].append(self._note)
        self._client = Mistral(
            api_key=config.api_key or NO_KEY,
            server_url=without_version(config.server_url),
            async_client=self._http,
        )
        self.model = config.model

    def with_model(self, model: str) -> "MistralProvider":
        """The same configuration and connections with another model."""
        other = object.__new__(MistralProvider)
        other.__dict__.update(self.__dict__, model=model)
        return other

    def stream(self, prompt: Prompt) -> AsyncGenerator[str | Finish, None]:
        return relay(lambda: self._call(prompt), self._deadlines)

    async def aclose(self) -> None:
        await self._http.aclose()

    @asynccontextmanager
    async def _call(self, prompt: Prompt) -> AsyncIterator[httpx2.Response]:
        # The SDK hops to a thread between the response's arrival and handing it over; cancelled
        # there, it would lose an open response and its place in the pool. So we keep our own.
        call = uuid4().hex
        messages: list[Any] = [{"role": m.role, "content": m.content} for m in prompt.messages]
        try:
            try:
                stream = await self._client.chat.stream_async(
                    model=self.model,
                    messages=messages,
                    temperature=prompt.temperature,
                    max_tokens=prompt.max_tokens,
                    http_headers={CALL_HEADER: call},
                )
            except errors.MistralError as error:
                raise VENDOR.refused(error.status_code, error.headers, self.model) from error
            except (httpx2.HTTPError, errors.NoResponseError) as error:
                raise VENDOR.unreachable() from error
            yield stream.response
        finally:
            response = self._responses.pop(call, None)
            if response is not None:
                await response.aclose()

    async def _note(self, response: httpx2.Response) -> None:
        self._responses[response.request.headers[CALL_HEADER]] = response


def without_version(server_url: str | None) -> str | None:
    """`http://host/v1` as `http://host`: the SDK adds the version itself."""
    return server_url and server_url.rstrip("/").removesuffix("/v1")
