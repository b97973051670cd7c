"""Which key arrives where: the operator's at the operator's address, an agent's at the address that
it was entered for, and neither anywhere else. Over real sockets."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.chat.model import Agent, ChatMessage, QueryComplexity
from app.chat.ports import Finish, Prompt, Provider
from app.errors import InvalidInput, ProviderError, ProviderRejected, ProviderUnavailable
from app.outgoing.guard import Guard
from app.providers.breaker import BreakerLimits
from app.providers.configs import MistralConfig, OpenAIConfig
from app.providers.own import MOST, Own
from app.providers.policy import Attempts
from app.providers.registry import ConfiguredProviders
from app.providers.relay import Deadlines
from app.vault.agent_keys import AgentKeys
from app.vault.keyring import parse_keys
from app.vault.sealing import Vault
from tests.support.live import Live, live_service, unique
from tests.support.vendors import Script, VendorServer

OPERATORS, AGENTS = "sk-operators-own-key-0001", "sk-the-agents-own-key-0002"
MASTER = base64.b64encode(bytes([7]) * 32).decode()
KEYS = AgentKeys(Vault(parse_keys(MASTER)))
PROMPT = Prompt(
    messages=[ChatMessage("user", "Who?")],
    question="Who?",
    passages=[],
    language="en",
    complexity=QueryComplexity.SIMPLE,
    max_tokens=256,
    temperature=0.2,
)
AGENT = Agent(5, "a", "", "openai", None, None, 5, 500, 0.2, 1, tenant_id=3)
ADDRESSES = {"openai": "openai_url", "mistral": "mistral_url"}


def with_own(provider: str, base_url: str | None, key: str | None, **changes: Any) -> Agent:
    agent = replace(AGENT, provider=provider, base_url=base_url, **changes)
    if key is None:
        return agent
    sealed = KEYS.seal(key, agent.tenant_id, agent.id, provider, base_url)
    return replace(agent, sealed_key=sealed)


def seen(server: VendorServer) -> list[str]:
    """The credentials that arrived, in order; of nothing else that arrived is one a part."""
    for request in server.requests:
        rest = {name: each for name, each in request.headers.items() if name != "authorization"}
        said = f"{request.path} {rest} {request.body}"
        assert OPERATORS not in said
        assert AGENTS not in said
    return [request.headers["authorization"].removeprefix("Bearer ") for request in server.requests]


@dataclass
class World:
    """The operator's server, which speaks both APIs, another one of somebody's, and a clock."""

    operators: VendorServer
    others: VendorServer
    providers: ConfiguredProviders
    clock: list[float]

    def url(self, provider: str, server: VendorServer | None = None) -> str:
        return str(getattr(server or self.others, ADDRESSES[provider]))


@asynccontextmanager
async def world(*, guard: Guard | None = None, configured: bool = True) -> AsyncIterator[World]:
    async with VendorServer() as operators, VendorServer() as others, AsyncExitStack() as stack:
        clock = [0.0]
        providers = ConfiguredProviders(
            OpenAIConfig(OPERATORS, "gpt", operators.openai_url) if configured else None,
            MistralConfig(OPERATORS, "mistral", operators.mistral_url) if configured else None,
            Deadlines(first_token_seconds=5.0),
            Attempts(0, 0.001, 5.0),
            BreakerLimits(failures=2),
            lambda: clock[0],
            own=Own(KEYS, guard or Guard(["127.0.0.1"]), {"openai": "gpt-env", "mistral": "m-env"}),
        )
        stack.push_async_callback(providers.aclose)
        yield World(operators, others, providers, clock)


async def fold(provider: Provider) -> str:
    text = ""
    async with aclosing(provider.stream(PROMPT)) as stream:
        async for item in stream:
            text += "" if isinstance(item, Finish) else "".join(item)
    return text


@pytest.mark.parametrize("provider", ["openai", "mistral"])
class TestWhichKeyArrivesWhere:
    async def test_the_operators_at_the_operators_address(self, provider: str) -> None:
        async with world() as given:
            await fold(given.providers.for_agent(with_own(provider, None, None)))
            assert (seen(given.operators), seen(given.others)) == ([OPERATORS], [])

    async def test_an_agents_at_the_agents_address(self, provider: str) -> None:
        async with world() as given:
            agent = with_own(provider, given.url(provider), AGENTS)
            await fold(given.providers.for_agent(agent))
            assert (seen(given.operators), seen(given.others)) == ([], [AGENTS])

    async def test_none_at_an_agents_address_without_a_key(self, provider: str) -> None:
        async with world() as given:
            await fold(given.providers.for_agent(with_own(provider, given.url(provider), None)))
            assert (seen(given.operators), seen(given.others)) == ([], ["none"])

    async def test_an_agents_alone_where_the_operator_sends_this_providers(
        self, provider: str
    ) -> None:
        async with world() as given:
            await fold(given.providers.for_agent(with_own(provider, None, AGENTS)))
            assert (seen(given.operators), seen(given.others)) == ([AGENTS], [])

    async def test_the_operators_when_its_provider_is_the_fallback(self, provider: str) -> None:
        async with world() as given:
            given.others.script = Script(status=500)
            agent = with_own(provider, given.url(provider), AGENTS, fallback_provider=provider)
            assert await fold(given.providers.for_agent(agent)) == "Hello, world."
            assert (seen(given.operators), seen(given.others)) == ([OPERATORS], [AGENTS])

    async def test_an_agent_needs_nothing_of_the_operators(self, provider: str) -> None:
        async with world(configured=False) as given:
            agent = with_own(provider, given.url(provider), AGENTS)
            await fold(given.providers.for_agent(agent))
            assert seen(given.others) == [AGENTS]
            [request] = given.others.requests
            assert request.body["model"] in ("gpt-env", "m-env")

    async def test_one_that_cannot_be_read_goes_nowhere_and_no_other_one_instead(
        self, provider: str
    ) -> None:
        """With the fallback that would have answered, too: it is there for servers that fail."""
        async with world() as given:
            good = with_own(provider, given.url(provider), AGENTS, fallback_provider=provider)
            elsewhere = given.url(provider, given.operators)
            unreadable = [
                replace(good, sealed_key=b"\0" * 200),
                replace(good, base_url=elsewhere),
                replace(good, base_url=None),
                replace(good, id=6),
                replace(good, tenant_id=4),
                replace(good, provider={"openai": "mistral", "mistral": "openai"}[provider]),
            ]
            for agent in unreadable:
                with pytest.raises(ProviderRejected, match="`api_key` again"):
                    given.providers.for_agent(agent)
            assert (given.operators.connections, given.others.connections) == (0, 0)

    async def test_a_refusal_that_repeats_the_key_is_not_repeated(
        self, provider: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        faults = [
            *(Script(status=status) for status in (400, 401, 403, 404, 429, 500, 302)),
            Script(fault="error"),
            Script(fault="garbage"),
        ]
        async with world() as given:
            agent = with_own(provider, given.url(provider), AGENTS)
            for fault in faults:
                given.others.script = fault
                given.clock[0] += 1000.0  # its breaker lets one through again
                with capture_logs() as logs, pytest.raises(ProviderError) as failed:
                    await fold(given.providers.for_agent(agent))
                told = f"{failed.value!r} {failed.value.message} {logs} {caplog.text}"
                assert AGENTS not in told
                assert "secret details" not in told
            assert set(seen(given.others)) == {AGENTS}

    async def test_what_is_wrong_names_the_agents_fields(self, provider: str) -> None:
        async with world() as given:
            given.others.script = Script(status=401)
            agent = with_own(provider, given.url(provider), AGENTS)
            with pytest.raises(ProviderRejected, match="the agent's `api_key`"):
                await fold(given.providers.for_agent(agent))


class TestConnections:
    async def test_an_address_inside_is_not_connected_to(self) -> None:
        async with world(guard=Guard()) as given:
            agent = with_own("openai", given.others.openai_url, AGENTS)
            with pytest.raises(ProviderRejected):
                await fold(given.providers.for_agent(agent))
            assert given.others.connections == 0

    @pytest.mark.parametrize(
        "base_url", ["http://llm.example/v1", "https://user:word@llm.example/v1", "ftp://a"]
    )
    async def test_an_address_that_is_not_allowed_any_more_is_not_asked(
        self, base_url: str
    ) -> None:
        async with world() as given:
            with pytest.raises(ProviderRejected):
                given.providers.for_agent(with_own("openai", base_url, AGENTS))

    async def test_a_name_that_leads_inside_is_not_connected_to(self) -> None:
        async def inside(_: str, __: int) -> list[str]:
            return ["127.0.0.1"]

        async with world(guard=Guard(resolve=inside)) as given:
            url = f"https://llm.example:{given.others.port}/v1"
            with pytest.raises(ProviderRejected, match="public internet"):
                await fold(given.providers.for_agent(with_own("openai", url, AGENTS)))
            assert given.others.connections == 0

    async def test_the_same_destination_is_one_client_and_others_are_others(self) -> None:
        async with world() as given:
            url = given.others.openai_url
            agent = with_own("openai", url, AGENTS)
            for each in (agent, agent, with_own("openai", url, AGENTS, id=9)):
                await fold(given.providers.for_agent(each))
            assert given.others.connections == 1
            for each in (
                with_own("openai", url, AGENTS, tenant_id=4),
                with_own("openai", url, "sk-another-key"),
            ):
                await fold(given.providers.for_agent(each))
            assert given.others.connections == 3

    async def test_one_agents_dead_server_is_nobody_elses_trouble(self) -> None:
        async with world() as given:
            given.others.script = Script(status=500)
            agent = with_own("openai", given.others.openai_url, AGENTS)
            for _ in range(3):
                with pytest.raises(ProviderUnavailable):
                    await fold(given.providers.for_agent(agent))
            assert len(given.others.requests) == 2  # the third was left alone
            assert given.providers.breakers()["openai"] == "closed"
            await fold(given.providers.for_agent(replace(AGENT)))
            given.others.script = Script()
            other = with_own("openai", given.others.openai_url, AGENTS, tenant_id=4)
            assert await fold(given.providers.for_agent(other)) == "Hello, world."

    async def test_what_is_needed_least_is_let_go_of_once_its_answer_is_over(self) -> None:
        async with world() as given:
            gate = asyncio.Event()
            given.others.scripts = [Script(gates={1: gate})]
            streaming = asyncio.create_task(
                fold(given.providers.for_agent(with_own("openai", given.others.openai_url, AGENTS)))
            )
            await given.others.wait_for(1)
            for number in range(MOST + 3):
                key = f"sk-key-number-{number:04}"
                given.providers.for_agent(with_own("openai", given.others.openai_url, key))
            assert given.providers.statistics()["agents"]["in_use"] == 1
            gate.set()
            assert await streaming == "Hello, world."
            assert given.providers.statistics()["agents"]["open"] == 0

    async def test_what_nobody_has_used_for_long_is_let_go_of(self) -> None:
        async with world() as given:
            agent = with_own("openai", given.others.openai_url, AGENTS)
            await fold(given.providers.for_agent(agent))
            assert given.providers.statistics()["agents"]["open"] == 1
            given.clock[0] += 301.0
            given.providers.for_agent(with_own("openai", given.others.openai_url, "sk-another"))
            await fold(given.providers.for_agent(agent))
            assert given.others.connections == 2


HOST = "llm.example"
CHECKED: list[tuple[dict[str, Any], bool, str | None]] = [
    ({"provider": "openai", "base_url": f"https://{HOST}/v1"}, False, None),
    ({"provider": "openai", "base_url": f"https://{HOST}/v1"}, True, None),
    ({"provider": "mistral", "base_url": None}, True, None),
    ({"provider": "openai", "base_url": "http://127.0.0.1:11434/v1"}, True, None),
    ({"provider": "openai", "base_url": f"http://{HOST}/v1"}, False, "in the open"),
    ({"provider": "openai", "base_url": f"https://user:word@{HOST}/v1"}, False, "no user name"),
    ({"provider": "openai", "base_url": f"https://{HOST}/v1?key=1"}, False, r"\?"),
    ({"provider": "openai", "base_url": f"https://{HOST}/v1#part"}, False, "#"),
    ({"provider": "openai", "base_url": "https://10.0.0.1/v1"}, False, "public internet"),
    ({"provider": "openai", "base_url": "https://localhost/v1"}, True, "public internet"),
    ({"provider": "openai", "base_url": "file:///etc/passwd"}, False, "http"),
    ({"provider": "auto", "base_url": f"https://{HOST}/v1"}, False, "openai or mistral"),
    ({"provider": "extractive", "base_url": None}, True, "openai or mistral"),
    ({"provider": "openai", "base_url": None}, False, "OPENAI_API_KEY"),
    ({"provider": "openai", "fallback_provider": "mistral"}, True, "MISTRAL_API_KEY"),
]


@pytest.mark.parametrize(("values", "own_key", "says"), CHECKED)
async def test_an_agent_that_nobody_could_answer_for_is_refused(
    values: Mapping[str, Any], own_key: bool, says: str | None
) -> None:
    async with world(configured=False) as given:
        agent = replace(AGENT, **values)
        if says is None:
            given.providers.check(agent, own_key=own_key)
            return
        with pytest.raises(InvalidInput, match=says):
            given.providers.check(agent, own_key=own_key)


@pytest.fixture
async def vendors() -> AsyncIterator[tuple[VendorServer, VendorServer, VendorServer]]:
    async with VendorServer() as one, VendorServer() as other, VendorServer() as canary:
        yield one, other, canary


@asynccontextmanager
async def service(connections: dict[str, Any], vendor: VendorServer) -> AsyncIterator[Live]:
    configured = {
        "kms_keys": MASTER,
        "allow_private_hosts": "127.0.0.1",
        "openai_api_key": OPERATORS,
        "openai_base_url": vendor.openai_url,
        "features": {"answer_cache": False},
    }
    async with live_service(**{**connections, **configured}) as live:
        yield live


async def test_through_the_api_a_new_address_sees_no_byte_of_the_key(
    connections: dict[str, Any], vendors: tuple[VendorServer, VendorServer, VendorServer]
) -> None:
    operators, own, canary = vendors
    async with service(connections, operators) as live:
        values = {"provider": "openai", "base_url": own.openai_url, "api_key": AGENTS}
        agent_id = await live.agent(unique("own"), None, **values)
        path = f"/api/agents/{agent_id}"
        shown = await live.json("GET", path)
        assert (shown["api_key_last4"], shown["api_key_state"]) == ("0002", "ok")
        assert AGENTS not in str(shown)
        await live.ask(agent_id, "Who are you?")
        assert seen(own) == [AGENTS]

        moved = await live.json("PATCH", path, json={"base_url": canary.openai_url})
        assert (moved["api_key_last4"], moved["api_key_state"]) == (None, "none")
        await live.ask(agent_id, "Who are you?")
        await live.stream(agent_id, "Who are you?")
        assert seen(canary) == ["none", "none"]

        back = {"base_url": own.openai_url}
        assert (await live.json("PATCH", path, json=back))["api_key_state"] == "none"
        await live.ask(agent_id, "Who are you?")
        assert seen(own) == [AGENTS, "none"]
        given = await live.json("PATCH", path, json={"api_key": AGENTS})
        assert (given["api_key_last4"], given["base_url"]) == ("0002", own.openai_url)
        await live.ask(agent_id, "Who are you?")
        assert seen(own) == [AGENTS, "none", AGENTS]
        assert operators.requests == []


@pytest.mark.parametrize(
    "values",
    [
        {"base_url": "http://llm.example/v1"},
        {"base_url": "https://169.254.169.254/v1"},
        {"base_url": "https://user:pass@llm.example/v1"},
        {"base_url": "https://llm.example/v1", "provider": "auto"},
        {"api_key": AGENTS, "provider": "extractive"},
        {"api_key": AGENTS + "\n"},
        {"api_key": f" {AGENTS}"},
        {"api_key": AGENTS * 200},
        {"api_key": "short"},
        {"api_key": [AGENTS]},
        {"api_key": AGENTS, "base_url": "no address"},
    ],
)
async def test_a_wrong_key_or_address_is_refused_without_being_repeated(
    connections: dict[str, Any],
    vendors: tuple[VendorServer, VendorServer, VendorServer],
    values: dict[str, Any],
) -> None:
    async with service(connections, vendors[0]) as live:
        body = {"name": unique("wrong"), "provider": "openai", **values}
        response = await live.http.post("/api/agents", json=body)
        assert response.status_code == 422, response.text
        assert AGENTS not in response.text


async def test_a_key_of_another_master_key_says_so_and_asks_nobody(
    connections: dict[str, Any], vendors: tuple[VendorServer, VendorServer, VendorServer]
) -> None:
    operators, own, _ = vendors
    values = {"provider": "openai", "base_url": own.openai_url, "api_key": AGENTS}
    async with service(connections, operators) as live:
        agent_id = await live.agent(unique("own"), None, **values)
    lost = {**connections, "kms_keys": base64.b64encode(bytes([8]) * 32).decode()}
    configured = {"openai_api_key": OPERATORS, "allow_private_hosts": "127.0.0.1"}
    async with live_service(**lost, **configured) as live:
        shown = await live.json("GET", f"/api/agents/{agent_id}")
        assert (shown["api_key_last4"], shown["api_key_state"]) == ("0002", "undecryptable")
        for way in ("chat", "chat/stream"):
            path = f"/api/agents/{agent_id}/{way}"
            problem = await live.json("POST", path, 502, json={"message": "Who are you?"})
            assert problem["code"] == "provider_rejected"
            assert "`api_key` again" in problem["detail"]
        renamed = {"name": unique("renamed")}
        changed = await live.json("PATCH", f"/api/agents/{agent_id}", json=renamed)
        assert changed["api_key_state"] == "undecryptable"
        again = await live.json("PATCH", f"/api/agents/{agent_id}", json={"api_key": AGENTS})
        assert again["api_key_state"] == "ok"
        await live.ask(agent_id, "Who are you?")
    assert (seen(operators), seen(own)) == ([], [AGENTS])


async def test_without_a_master_key_no_key_is_taken(
    connections: dict[str, Any], vendors: tuple[VendorServer, VendorServer, VendorServer]
) -> None:
    async with live_service(**connections) as live:
        body = {"name": unique("own"), "provider": "openai", "api_key": AGENTS}
        problem = await live.json("POST", "/api/agents", 409, json=body)
        assert "AGENT_KMS_KEY" in problem["detail"]
