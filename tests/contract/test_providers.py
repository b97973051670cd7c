"""Every provider keeps the port's promises; the vendors' do so through any fault, over real
sockets."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from app.chat.model import ChatMessage, Passage, QueryComplexity, Usage
from app.chat.ports import Finish, Prompt, Provider
from app.errors import (
    AppError,
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderTruncated,
    ProviderUnavailable,
)
from app.providers.configs import MistralConfig, OpenAIConfig
from app.providers.extractive import ExtractiveProvider
from app.providers.mistral import MistralProvider
from app.providers.openai import OpenAIProvider
from app.providers.relay import Deadlines
from tests.support.vendors import Script, VendorServer, unused_url

KEY = "sk-a-key-nobody-may-see"
QUICK = Deadlines(
    connect_seconds=1,
    first_token_seconds=2,
    between_tokens_seconds=2,
    total_seconds=5,
)
TEXT = (
    "Kestrel is a monitor for wind turbines. Maren Solvik leads the Kestrel project. "
    "It was built in 2024 for six operators."
)


def prompt(question: str = "Who leads the Kestrel project?") -> Prompt:
    return Prompt(
        messages=[ChatMessage("system", "You help."), ChatMessage("user", question)],
        question=question,
        passages=[Passage(1, 1, 1, "Kestrel", None, TEXT, 0, len(TEXT), 1.0, similarity=0.7)],
        language="en",
        complexity=QueryComplexity.SIMPLE,
        max_tokens=256,
        temperature=0.2,
    )


async def fold(provider: Provider, asked: Prompt | None = None) -> tuple[str, Finish]:
    """The whole text and the Finish; fails where the port's promises are not kept."""
    deltas: list[str] = []
    finish: Finish | None = None
    async with aclosing(provider.stream(asked or prompt())) as stream:
        async for item in stream:
            assert finish is None, "nothing comes after the Finish"
            if isinstance(item, Finish):
                finish = item
            else:
                assert item and all(item), "a delta is never empty"
                deltas += item
    assert finish is not None
    return "".join(deltas), finish


@dataclass
class Vendor:
    """A vendor's adapter, a server it speaks to, and how to make another adapter of its kind."""

    provider: OpenAIProvider | MistralProvider
    server: VendorServer
    make: Callable[[str, Deadlines], OpenAIProvider | MistralProvider]


def make_openai(url: str, deadlines: Deadlines) -> OpenAIProvider:
    return OpenAIProvider(OpenAIConfig(KEY, "gpt-test", f"{url}/openai/v1"), deadlines)


def make_mistral(url: str, deadlines: Deadlines) -> MistralProvider:
    return MistralProvider(MistralConfig(KEY, "mistral-test", f"{url}/mistral"), deadlines)


MAKERS = {"openai": make_openai, "mistral": make_mistral}


@pytest.fixture(params=["openai", "mistral"])
async def vendor(request: pytest.FixtureRequest) -> AsyncIterator[Vendor]:
    make = MAKERS[request.param]
    async with VendorServer() as server:
        provider = make(server.url, QUICK)
        yield Vendor(provider, server, make)
        await provider.aclose()


@pytest.fixture(params=["openai", "mistral", "extractive"])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    if request.param == "extractive":
        yield ExtractiveProvider()
        return
    async with VendorServer(Script(tokens=lambda body: echo(body))) as server:
        made = MAKERS[request.param](server.url, QUICK)
        yield made
        await made.aclose()


def echo(body: dict[str, object]) -> list[str]:
    messages = body["messages"]
    assert isinstance(messages, list)
    return [f"{word} " for word in messages[-1]["content"].split()]


@asynccontextmanager
async def configured(vendor: Vendor, **changes: float) -> AsyncIterator[Provider]:
    """The vendor's adapter with other deadlines."""
    other = vendor.make(vendor.server.url, replace(QUICK, **changes))
    try:
        yield other
    finally:
        await other.aclose()


class TestEveryProvider:
    async def test_streams_deltas_and_one_finish(self, provider: Provider) -> None:
        text, finish = await fold(provider)
        assert "Kestrel" in text
        assert finish.reason == "stop"
        assert finish.usage is not None
        assert finish.usage.completion_tokens > 0

    async def test_has_a_name_and_a_model(self, provider: Provider) -> None:
        assert provider.name in {"openai", "mistral", "extractive"}
        assert provider.model
        assert provider.uses_history == (provider.name != "extractive")

    async def test_can_be_closed_midway_and_used_again(self, provider: Provider) -> None:
        async with aclosing(provider.stream(prompt())) as stream:
            assert await anext(stream)
        assert (await fold(provider))[1].reason == "stop"

    async def test_can_be_closed_before_it_began(self, provider: Provider) -> None:
        await provider.stream(prompt()).aclose()

    async def test_concurrent_streams_do_not_mix(self, provider: Provider) -> None:
        questions = ["Who leads the Kestrel project?", "When was Kestrel built?"] * 4
        answers = await asyncio.gather(*(fold(provider, prompt(each)) for each in questions))
        texts = [text for text, _ in answers]
        assert len(set(texts)) == 2
        assert texts == texts[:2] * 4


class TestVendors:
    async def test_the_request_is_what_the_prompt_says(self, vendor: Vendor) -> None:
        text, finish = await fold(vendor.provider)
        assert (text, finish) == ("Hello, world.", Finish("stop", Usage(12, 3)))
        [request] = vendor.server.requests
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.path.endswith("/v1/chat/completions")
        body = request.body
        assert body["model"] == vendor.provider.model
        assert body["messages"] == [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": "Who leads the Kestrel project?"},
        ]
        assert (body["stream"], body["max_tokens"], body["temperature"]) == (True, 256, 0.2)

    async def test_with_model_shares_the_connections(self, vendor: Vendor) -> None:
        other = vendor.provider.with_model("other")
        await fold(vendor.provider)
        await fold(other)
        assert [each.body["model"] for each in vendor.server.requests][1] == "other"
        assert (vendor.server.connections, vendor.provider.model != "other") == (1, True)

    async def test_a_connection_is_used_again(self, vendor: Vendor) -> None:
        for _ in range(3):
            await fold(vendor.provider)
        assert vendor.server.connections == 1

    async def test_a_reader_that_stops_at_the_finish_keeps_the_connection(
        self, vendor: Vendor
    ) -> None:
        for _ in range(2):
            async with aclosing(vendor.provider.stream(prompt())) as stream:
                async for item in stream:
                    if isinstance(item, Finish):
                        break
        assert vendor.server.connections == 1

    @pytest.mark.parametrize(
        "script",
        [
            Script(tokens=["línea ", "uno\u2028dos\u0085tres", " 🙂"], newline="\r\n"),
            Script(tokens=["línea ", "uno\u2028dos\u0085tres", " 🙂"], keep_alives=True),
            Script(tokens=["línea ", "uno\u2028dos\u0085tres", " 🙂"], done_marker=False),
        ],
        ids=["crlf", "keep-alives", "no [DONE]"],
    )
    async def test_dialects(self, vendor: Vendor, script: Script) -> None:
        vendor.server.script = script
        text, finish = await fold(vendor.provider)
        assert (text, finish.usage) == ("línea uno\u2028dos\u0085tres 🙂", Usage(12, 3))

    @pytest.mark.parametrize("reason", ["length", "content_filter"])
    async def test_the_vendors_reason_is_passed_on(self, vendor: Vendor, reason: str) -> None:
        vendor.server.script = Script(finish_reason=reason, usage=None)
        assert (await fold(vendor.provider))[1] == Finish(reason, None)

    async def test_tokens_arrive_one_by_one(self, vendor: Vendor) -> None:
        gates = {1: asyncio.Event(), 2: asyncio.Event()}
        vendor.server.script = Script(tokens=["a", "b"], gates=gates)
        async with aclosing(vendor.provider.stream(prompt())) as stream:
            assert await anext(stream) == ["a"]
            gates[1].set()
            assert await anext(stream) == ["b"]
            gates[2].set()
            assert isinstance(await anext(stream), Finish)


# script, error, whether a token came first
FAULTS: list[tuple[str, Script, type[ProviderError], bool]] = [
    ("400", Script(status=400), ProviderRejected, False),
    ("401", Script(status=401), ProviderRejected, False),
    ("403", Script(status=403), ProviderRejected, False),
    ("404", Script(status=404), ProviderRejected, False),
    ("422", Script(status=422), ProviderRejected, False),
    ("redirect", Script(status=307, location="/elsewhere"), ProviderRejected, False),
    ("web page", Script(content_type="text/html"), ProviderRejected, False),
    ("429", Script(status=429, retry_after="0"), ProviderRateLimited, False),
    ("429 for long", Script(status=429, retry_after="60"), ProviderRateLimited, False),
    ("500", Script(status=500), ProviderUnavailable, False),
    ("503", Script(status=503), ProviderUnavailable, False),
    ("reset", Script(fault="reset", before_headers=True), ProviderUnavailable, False),
    ("closed", Script(fault="eof", before_headers=True), ProviderUnavailable, False),
    ("reset after headers", Script(fault="reset"), ProviderUnavailable, False),
    ("empty stream", Script(fault="eof"), ProviderTruncated, False),
    ("error first", Script(fault="error"), ProviderError, False),
    ("reset midway", Script(fault="reset", fault_after=1), ProviderTruncated, True),
    ("end midway", Script(fault="eof", fault_after=1), ProviderTruncated, True),
    ("end at the end", Script(fault="eof", fault_after=3), ProviderTruncated, True),
    ("done without a reason", Script(finish_reason=None), ProviderTruncated, True),
    ("error midway", Script(fault="error", fault_after=2), ProviderError, True),
    ("garbage midway", Script(fault="garbage", fault_after=2), ProviderError, True),
    ("reason error", Script(finish_reason="error"), ProviderError, True),
]


class TestFaults:
    @pytest.mark.parametrize(
        ("script", "error", "begun"),
        [row[1:] for row in FAULTS],
        ids=[row[0] for row in FAULTS],
    )
    async def test_fault(
        self,
        vendor: Vendor,
        script: Script,
        error: type[ProviderError],
        begun: bool,
    ) -> None:
        vendor.server.script = script
        items: list[list[str] | Finish] = []
        with pytest.raises(ProviderError) as caught:
            async with aclosing(vendor.provider.stream(prompt())) as stream:
                async for item in stream:
                    items.append(item)
        assert type(caught.value) is error
        assert len(vendor.server.requests) == 1
        assert bool(items) == begun
        assert not any(isinstance(item, Finish) for item in items)
        self.assert_safe(caught.value)
        # The same client answers once the fault is gone.
        vendor.server.script = Script()
        assert (await fold(vendor.provider))[0] == "Hello, world."

    def assert_safe(self, error: AppError) -> None:
        assert KEY not in error.message
        assert "secret details" not in error.message
        assert error.message.endswith(".")

    @pytest.mark.parametrize(
        ("status", "says"), [(401, "_API_KEY"), (404, "_MODEL"), (403, "_MODEL"), (307, "_URL")]
    )
    async def test_a_refusal_says_what_to_check(
        self, vendor: Vendor, status: int, says: str
    ) -> None:
        vendor.server.script = Script(status=status)
        with pytest.raises(ProviderRejected) as caught:
            await fold(vendor.provider)
        variable = ("OPENAI" if vendor.provider.name == "openai" else "MISTRAL") + says
        assert variable in caught.value.message.replace("_BASE_URL", "_URL").replace(
            "_SERVER_URL", "_URL"
        )

    async def test_retry_after_is_passed_on(self, vendor: Vendor) -> None:
        vendor.server.script = Script(status=429, retry_after="7")
        with pytest.raises(ProviderRateLimited) as caught:
            await fold(vendor.provider)
        assert caught.value.retry_after == 7

    async def test_nobody_listens(self, vendor: Vendor) -> None:
        lost = vendor.make(unused_url(), QUICK)
        with pytest.raises(ProviderUnavailable, match="could not be reached"):
            await fold(lost)
        await lost.aclose()

    @pytest.mark.parametrize(
        ("script", "changes", "says"),
        [
            (Script(fault="hang", before_headers=True), {"first_token_seconds": 0.5}, "first word"),
            (Script(fault="hang"), {"first_token_seconds": 0.5}, "first word"),
            (Script(fault="hang", fault_after=1), {"between_tokens_seconds": 0.5}, "paused"),
            (Script(fault="hang", fault_after=1), {"total_seconds": 0.5}, "longer"),
            (Script(fault="hang"), {"total_seconds": 0.5}, "longer"),
        ],
        ids=["headers", "first token", "between tokens", "total", "total before the first"],
    )
    async def test_deadlines(
        self, vendor: Vendor, script: Script, changes: dict[str, float], says: str
    ) -> None:
        vendor.server.script = script
        async with configured(vendor, **changes) as impatient:
            with pytest.raises(ProviderTimeout, match=says):
                await fold(impatient)
        assert len(vendor.server.requests) == 1
        await asyncio.wait_for(vendor.server.requests[0].gone.wait(), 1)

    async def test_a_complete_answer_whose_connection_hangs_is_complete(
        self, vendor: Vendor
    ) -> None:
        vendor.server.script = Script(usage=None, gates={4: asyncio.Event()})
        async with configured(vendor, between_tokens_seconds=0.1) as impatient:
            assert (await fold(impatient))[1] == Finish("stop", None)


class TestLeaving:
    async def test_closing_the_generator_closes_the_call(self, vendor: Vendor) -> None:
        vendor.server.script = Script(fault="hang", fault_after=1)
        async with aclosing(vendor.provider.stream(prompt())) as stream:
            await anext(stream)
            left = time.perf_counter()
        await vendor.server.requests[0].gone.wait()
        assert time.perf_counter() - left < 0.1

    @pytest.mark.parametrize(
        "script",
        [
            Script(fault="hang", before_headers=True),
            Script(fault="hang"),
            Script(fault="hang", fault_after=1),
        ],
        ids=["before headers", "before the first token", "midway"],
    )
    async def test_cancelling_the_task_closes_the_call(
        self, vendor: Vendor, script: Script
    ) -> None:
        vendor.server.script = script
        task = asyncio.create_task(fold(vendor.provider))
        request = await vendor.server.wait_for(1)
        await asyncio.sleep(0)
        left = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await request.gone.wait()
        assert time.perf_counter() - left < 0.1

    async def test_cancelled_at_any_moment_no_connection_is_lost(self, vendor: Vendor) -> None:
        for turns in range(40):
            task = asyncio.create_task(fold(vendor.provider))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await fold(vendor.provider))[0] == "Hello, world."
        assert vendor.provider.statistics()["in_use"] == 0


class TestOpenAIOnly:
    async def test_fields_a_server_refuses_are_left_out_from_then_on(self) -> None:
        refuses = ["stream_options", "temperature"]
        async with VendorServer(Script(refuses=refuses)) as server:
            provider = make_openai(server.url, QUICK)
            assert (await fold(provider))[1] == Finish("stop", None)
            assert len(server.requests) == 3
            await fold(provider)
            assert len(server.requests) == 4
            assert not set(refuses) & set(server.requests[-1].body)
            await fold(provider.with_model("another"))
            assert set(refuses) & set(server.requests[4].body)
            await provider.aclose()

    async def test_an_empty_key_is_allowed(self) -> None:
        async with VendorServer() as server:
            provider = OpenAIProvider(OpenAIConfig("", "llama", server.openai_url), QUICK)
            await fold(provider)
            assert server.requests[0].headers["authorization"] == "Bearer none"
            await provider.aclose()
