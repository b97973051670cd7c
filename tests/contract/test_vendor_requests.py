"""Our calls are those that the vendors' own SDKs make: the same address, headers and body."""

import pytest
from mistralai.client import Mistral
from openai import AsyncOpenAI

from app.chat.model import ChatMessage, QueryComplexity
from app.chat.ports import Finish, Prompt
from app.providers.configs import MistralConfig, OpenAIConfig
from app.providers.mistral import MistralProvider
from app.providers.openai import OpenAIProvider
from app.providers.relay import Deadlines
from tests.support.vendors import Received, Script, VendorServer

KEY, MODEL = "sk-key", "a-model"
PROMPT = Prompt(
    messages=[
        ChatMessage("system", "Sé breve. \U0001f642"),
        ChatMessage("user", "Who?"),
        ChatMessage("assistant", "Ana [1]."),
        ChatMessage("user", 'And "when"?\n'),
    ],
    question="And when?",
    passages=[],
    language="en",
    complexity=QueryComplexity.SIMPLE,
    max_tokens=256,
    temperature=0.2,
)
MESSAGES = [{"role": each.role, "content": each.content} for each in PROMPT.messages]
HEADERS = ("authorization", "accept", "content-type", "host")


async def by_openai(server: VendorServer) -> None:
    async with AsyncOpenAI(api_key=KEY, base_url=server.openai_url, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=MESSAGES,  # type: ignore[arg-type]
            stream=True,
            stream_options={"include_usage": True},
            temperature=PROMPT.temperature,
            max_tokens=PROMPT.max_tokens,
        )
        async for _ in stream:
            pass


async def by_mistral(server: VendorServer) -> None:
    async with Mistral(api_key=KEY, server_url=server.mistral_url) as client:
        stream = await client.chat.stream_async(
            model=MODEL,
            messages=MESSAGES,  # type: ignore[arg-type]
            temperature=PROMPT.temperature,
            max_tokens=PROMPT.max_tokens,
        )
        async with stream:
            async for _ in stream:
                pass


async def ours(provider: OpenAIProvider | MistralProvider) -> None:
    async for item in provider.stream(PROMPT):
        if isinstance(item, Finish):
            break
    await provider.aclose()


@pytest.mark.parametrize("vendor", ["openai", "mistral"])
async def test_the_request_is_the_sdks(vendor: str) -> None:
    async with VendorServer(Script()) as server:
        if vendor == "openai":
            await by_openai(server)
            await ours(OpenAIProvider(OpenAIConfig(KEY, MODEL, server.openai_url), Deadlines()))
        else:
            await by_mistral(server)
            await ours(MistralProvider(MistralConfig(KEY, MODEL, server.mistral_url), Deadlines()))
        theirs, own = server.requests
    assert seen(own) == seen(theirs)


def seen(received: Received) -> tuple[object, ...]:
    """What of a request counts. Mistral's SDK spells out one default."""
    for message in received.body["messages"]:
        assert not message.pop("prefix", False)
    headers = {name: received.headers.get(name) for name in HEADERS}
    return received.method, received.path, headers, received.body
