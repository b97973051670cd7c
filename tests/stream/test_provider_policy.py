"""What a question meets when its provider fails before the first token, over real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.chat.model import Agent, ChatMessage, QueryComplexity
from app.chat.ports import Finish, Prompt, Provider
from app.errors import (
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderTruncated,
    ProviderUnavailable,
    Unavailable,
)
from app.providers.breaker import BreakerLimits
from app.providers.configs import MistralConfig, OpenAIConfig
from app.providers.policy import Attempts
from app.providers.registry import ConfiguredProviders
from app.providers.relay import Deadlines
from tests.support.live import Live, live_service, unique
from tests.support.vendors import Script, VendorServer, unused_url

PROMPT = Prompt(
    messages=[ChatMessage("user", "Who?")],
    question="Who?",
    passages=[],
    language="en",
    complexity=QueryComplexity.SIMPLE,
    max_tokens=256,
    temperature=0.2,
)
TEXT = "Atlas is a dashboard built with React. It was finished in 2021 by Ana Ruiz."
QUESTION = "Who finished the Atlas dashboard?"
DOWN = Script(status=500)
RESET = Script(fault="reset", before_headers=True)
HANGS = Script(fault="hang", before_headers=True)
PATIENT = BreakerLimits(failures=100)
AGENT = Agent(1, "a", "", "openai", None, None, 5, 500, 0.2, 1)


@dataclass
class World:
    """Two vendors, each on its own server, and what an operator configured of them."""

    main: VendorServer
    other: VendorServer
    providers: ConfiguredProviders

    def provider(self, fallback: str | None = None) -> Provider:
        return self.providers.for_agent(replace(AGENT, fallback_provider=fallback))


@asynccontextmanager
async def world(
    limits: BreakerLimits = PATIENT,
    *,
    first_token_seconds: float = 5.0,
    backoff_seconds: float = 0.005,
    main_url: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[World]:
    async with VendorServer() as main, VendorServer() as other, AsyncExitStack() as stack:
        other.script = Script(tokens=["From ", "the other."])
        providers = ConfiguredProviders(
            OpenAIConfig("k", "gpt", main_url or main.openai_url),
            MistralConfig("k", "mistral", other.mistral_url),
            Deadlines(first_token_seconds=first_token_seconds),
            Attempts(2, backoff_seconds, first_token_seconds),
            limits,
            clock,
        )
        stack.push_async_callback(providers.aclose)
        yield World(main, other, providers)


async def fold(provider: Provider) -> tuple[str, Finish]:
    text = ""
    async with aclosing(provider.stream(PROMPT)) as stream:
        async for item in stream:
            if isinstance(item, Finish):
                return text, item
            text += "".join(item)
    raise AssertionError("no Finish")


class TestAttempts:
    @pytest.mark.parametrize(
        "fault",
        [
            DOWN,
            Script(status=429, retry_after="0.01"),
            RESET,
            Script(fault="eof", before_headers=True),
            Script(fault="eof"),
        ],
        ids=["500", "429", "reset", "closed", "empty"],
    )
    async def test_two_faults_go_unnoticed(self, fault: Script) -> None:
        async with world() as given:
            given.main.scripts = [fault, fault]
            text, finish = await fold(given.provider("mistral"))
        assert (text, finish.degraded, len(given.main.requests)) == ("Hello, world.", (), 3)
        assert finish.usage is not None
        assert finish.usage.prompt_tokens == 12, "what failed cost nothing"
        assert given.other.connections == 0

    async def test_three_are_an_error(self) -> None:
        async with world() as given:
            given.main.script = DOWN
            with pytest.raises(ProviderUnavailable):
                await fold(given.provider())
            assert len(given.main.requests) == 3

    @pytest.mark.parametrize("status", [400, 401, 404, 422])
    async def test_a_refusal_stays_one(self, status: int) -> None:
        async with world() as given:
            given.main.script = Script(status=status)
            with pytest.raises(ProviderRejected):
                await fold(given.provider())
            assert len(given.main.requests) == 1

    async def test_retry_after_is_the_least_that_is_waited(self) -> None:
        async with world() as given:
            given.main.scripts = [Script(status=429, retry_after="0.3")]
            started = time.monotonic()
            await fold(given.provider())
            assert time.monotonic() - started >= 0.3

    async def test_a_retry_after_beyond_the_deadline_is_not_waited_for(self) -> None:
        async with world() as given:
            given.main.script = Script(status=429, retry_after="60")
            with pytest.raises(ProviderRateLimited) as caught:
                await fold(given.provider())
            assert (caught.value.retry_after, len(given.main.requests)) == (60, 1)

    async def test_the_deadline_covers_every_attempt(self) -> None:
        async with world(first_token_seconds=0.3) as given:
            given.main.scripts, given.main.script = [DOWN], HANGS
            with pytest.raises(ProviderTimeout, match="first word"):
                await fold(given.provider())
            assert len(given.main.requests) == 2
            async with asyncio.timeout(5):
                await given.main.requests[1].gone.wait()

    @pytest.mark.parametrize("fault", ["reset", "eof", "error", "garbage"])
    async def test_after_the_first_token_nothing_is_tried_again(self, fault: Any) -> None:
        async with world() as given:
            given.main.scripts = [Script(fault=fault, fault_after=1)]
            items = []
            with pytest.raises(ProviderError):
                async with aclosing(given.provider("mistral").stream(PROMPT)) as stream:
                    async for item in stream:
                        assert isinstance(item, list)
                        items += item
            assert (items, len(given.main.requests), given.other.connections) == (["Hello"], 1, 0)

    async def test_leaving_during_a_pause_ends_it_at_once(self) -> None:
        async with world(backoff_seconds=4) as given:
            given.main.script = DOWN
            task = asyncio.create_task(fold(given.provider("mistral")))
            request = await given.main.wait_for(1)
            async with asyncio.timeout(5):
                await request.finished.wait()
            left = time.perf_counter()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.perf_counter() - left < 0.1
            assert (len(given.main.requests), given.other.connections) == (1, 0)


class TestFallback:
    @pytest.mark.parametrize(
        "script",
        [DOWN, RESET, Script(status=429, retry_after="60"), Script(status=401), HANGS],
        ids=["500", "reset", "429", "401", "hangs"],
    )
    async def test_it_answers_where_the_main_one_does_not_begin(self, script: Script) -> None:
        async with world(first_token_seconds=0.5) as given:
            given.main.script = script
            provider = given.provider("mistral")
            text, finish = await fold(provider)
        assert (text, finish.reason, finish.degraded) == ("From the other.", "stop", ("provider",))
        assert (provider.name, provider.model) == ("openai", "gpt")

    async def test_where_nobody_listens(self) -> None:
        async with world(main_url=unused_url()) as given:
            assert (await fold(given.provider("mistral")))[0] == "From the other."

    async def test_extractive_needs_no_network(self) -> None:
        async with world(main_url=unused_url()) as given:
            text, finish = await fold(given.provider("extractive"))
        assert text
        assert finish.degraded == ("provider",)

    async def test_it_is_tried_again_too(self) -> None:
        async with world() as given:
            given.main.script = DOWN
            given.other.scripts = [RESET, DOWN]
            assert (await fold(given.provider("mistral")))[0] == "From the other."
            assert len(given.other.requests) == 3

    async def test_where_both_fail_the_first_error_is_told(self) -> None:
        async with world() as given:
            given.main.script, given.other.script = Script(status=401), DOWN
            with pytest.raises(ProviderRejected, match="OPENAI_API_KEY"):
                await fold(given.provider("mistral"))

    async def test_a_fallback_that_is_cut_is_cut(self) -> None:
        async with world() as given:
            given.main.script = DOWN
            given.other.script = Script(fault="eof", fault_after=1)
            with pytest.raises(ProviderTruncated):
                await fold(given.provider("mistral"))
            assert len(given.other.requests) == 1


class TestBreaker:
    async def test_open_it_makes_no_call_and_a_probe_finds_the_vendor_back(self) -> None:
        now = 0.0
        async with world(BreakerLimits(failures=3), clock=lambda: now) as given:
            given.main.script = DOWN
            with capture_logs() as lines:
                with pytest.raises(ProviderUnavailable, match="500"):
                    await fold(given.provider())
                with pytest.raises(ProviderUnavailable, match="left alone") as caught:
                    await fold(given.provider())
                assert caught.value.retry_after == 10
                assert (await fold(given.provider("mistral")))[0] == "From the other."
                assert len(given.main.requests) == 3
                given.main.script = Script()
                now = 10.0
                assert (await fold(given.provider("mistral")))[0] == "Hello, world."
            assert len(given.main.requests) == 4
        states = [line["state"] for line in lines if line["event"] == "provider breaker"]
        assert states == ["open", "half open", "closed"]

    async def test_a_refused_question_does_not_open_it(self) -> None:
        async with world(BreakerLimits(failures=1)) as given:
            given.main.scripts = [Script(status=400)] * 3
            for _ in range(3):
                with pytest.raises(ProviderRejected):
                    await fold(given.provider())
            assert (await fold(given.provider()))[0] == "Hello, world."

    async def test_a_cut_answer_does_not_open_it(self) -> None:
        async with world(BreakerLimits(failures=1)) as given:
            given.main.scripts = [Script(fault="eof", fault_after=1)]
            with pytest.raises(ProviderTruncated):
                await fold(given.provider())
            assert (await fold(given.provider()))[0] == "Hello, world."

    async def test_a_probe_whose_reader_leaves_gives_its_place_back(self) -> None:
        now = 0.0
        async with world(BreakerLimits(failures=1), clock=lambda: now) as given:
            given.main.scripts, given.main.script = [DOWN, HANGS], Script()
            with pytest.raises(ProviderUnavailable):
                await fold(given.provider())
            now = 10.0
            probe = asyncio.create_task(fold(given.provider()))
            await given.main.wait_for(2)
            with pytest.raises(ProviderUnavailable, match="left alone"):
                await fold(given.provider())
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
            assert (await fold(given.provider()))[0] == "Hello, world."


class TestConnections:
    async def test_where_all_are_in_use_the_vendor_is_not_to_blame(self) -> None:
        """It is overload here: one sentence with a 503, no attempts, no mark in the breaker."""
        async with VendorServer() as vendor:
            vendor.script = HANGS
            deadlines = Deadlines(connect_seconds=0.1)
            config = OpenAIConfig("k", "gpt", vendor.openai_url)
            limits = BreakerLimits(failures=1)
            providers = ConfiguredProviders(config, None, deadlines, limits=limits, connections=1)
            provider = providers.for_agent(AGENT)
            held = asyncio.create_task(fold(provider))
            await vendor.wait_for(1)
            with pytest.raises(Unavailable, match="in use"):
                await fold(provider)
            statistics = providers.statistics()["openai"]
            assert (statistics["size"], statistics["in_use"], statistics["waiting"]) == (1, 1, 0)
            assert providers.breakers()["openai"] == "closed"
            held.cancel()
            await asyncio.gather(held, return_exceptions=True)
            vendor.script = Script()
            assert (await fold(provider))[0] == "Hello, world."
            await providers.aclose()


@pytest.fixture(scope="module")
async def vendors() -> AsyncIterator[tuple[VendorServer, VendorServer]]:
    async with VendorServer() as main, VendorServer() as other:
        yield main, other


@pytest.fixture(scope="module")
async def modelled(
    connections: dict[str, Any], vendors: tuple[VendorServer, VendorServer]
) -> AsyncIterator[Live]:
    """The service with each vendor at a server of its own, and little patience."""
    main, other = vendors
    async with live_service(
        **connections,
        openai_api_key="test-openai",
        openai_base_url=main.openai_url,
        mistral_api_key="test-mistral",
        mistral_server_url=other.mistral_url,
        provider={
            "first_token_seconds": 1,
            "backoff_seconds": 0.005,
            "breaker_failures": 1000,
        },
    ) as service:
        yield service


class TestService:
    async def agent(self, live: Live, **values: Any) -> int:
        portfolio = await live.portfolio(unique("docs"), Atlas=TEXT)
        given = {"provider": "openai", "fallback_provider": "mistral", **values}
        return await live.agent(unique("agent"), portfolio, **given)

    async def test_stream_and_whole_answer_alike_and_nothing_of_it_is_cached(
        self, modelled: Live, vendors: tuple[VendorServer, VendorServer]
    ) -> None:
        main, other = vendors
        agent = await self.agent(modelled, fallback_model="agents-own")
        main.script = DOWN
        other.script = Script(tokens=["Ana Ruiz", " [1]", "."], usage=(20, 4))
        whole = await modelled.ask(agent, QUESTION)
        streamed = await modelled.stream(agent, QUESTION)
        done = streamed[-1]
        text = "".join(each["content"] for each in streamed if each["type"] == "token")
        assert whole["answer"] == text == "Ana Ruiz [1]."
        for name in ("citations", "cached", "degraded", "finish_reason", "usage"):
            assert whole[name] == done[name]
        assert (done["degraded"], done["cached"]) == (["provider"], False)
        assert (done["usage"]["prompt_tokens"], done["usage"]["completion_tokens"]) == (20, 4)
        assert other.requests[-1].body["model"] == "agents-own"
        main.script = Script(tokens=["Ana Ruiz herself [1]."])
        back = await modelled.ask(agent, QUESTION)
        assert (back["answer"], back["cached"], back["degraded"]) == (
            "Ana Ruiz herself [1].",
            False,
            [],
        )
        main.script = DOWN
        again = await modelled.ask(agent, QUESTION)
        assert (again["answer"], again["cached"]) == (back["answer"], True)

    @pytest.mark.parametrize(
        ("script", "status", "code"),
        [
            (DOWN, 502, "provider_unavailable"),
            (Script(status=429), 503, "provider_rate_limited"),
            (HANGS, 504, "provider_timeout"),
        ],
        ids=["502", "503", "504"],
    )
    async def test_both_down_is_the_first_ones_error(
        self,
        modelled: Live,
        vendors: tuple[VendorServer, VendorServer],
        script: Script,
        status: int,
        code: str,
    ) -> None:
        main, other = vendors
        agent = await self.agent(modelled)
        main.script, other.script = script, Script(status=401)
        body = {"message": QUESTION}
        whole = await modelled.json("POST", f"/api/agents/{agent}/chat", status, json=body)
        assert whole["code"] == code
        streamed = await modelled.stream(agent, QUESTION)
        assert (streamed[-1]["type"], streamed[-1]["code"]) == ("error", code)

    async def test_the_fallback_is_a_field_like_the_others(self, modelled: Live) -> None:
        agent = await self.agent(modelled)
        path = f"/api/agents/{agent}"
        shown = await modelled.json("GET", path)
        assert (shown["fallback_provider"], shown["fallback_model"]) == ("mistral", None)
        changed = await modelled.json(
            "PATCH", path, json={"fallback_provider": None, "fallback_model": "other"}
        )
        assert (changed["fallback_provider"], changed["fallback_model"]) == (None, "other")
        assert changed["version"] == shown["version"] + 1
        await modelled.json("PATCH", path, 422, json={"fallback_provider": "auto"})

    async def test_one_that_is_not_configured_is_refused(self, live: Live) -> None:
        body = {"name": unique("agent"), "fallback_provider": "mistral"}
        refused = await live.json("POST", "/api/agents", 422, json=body)
        assert "MISTRAL_API_KEY" in refused["detail"]
