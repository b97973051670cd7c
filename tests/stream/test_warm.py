"""`citestream warm` as an operator types it, and prefetch in a running service, on real servers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.commands.warm import warm_caches
from app.errors import Unavailable
from app.settings import ConfigurationError
from tests.support.command import environment, output_of
from tests.support.live import Live, live_service, unique
from tests.support.vendors import Script, VendorServer

TEXT = "Atlas is the map project. It was finished in 2021 by Ana Ruiz."
FIRST, NEXT = "Who finished the Atlas project?", "When was the Atlas project finished?"


@pytest.fixture(scope="module")
async def vendor() -> AsyncIterator[VendorServer]:
    async with VendorServer(Script(tokens=["Ana", " Ruiz", " [1]", "."])) as server:
        yield server


@pytest.fixture(scope="module")
def settings(connections: dict[str, Any], vendor: VendorServer) -> dict[str, Any]:
    return {**connections, "openai_api_key": "test", "openai_base_url": vendor.openai_url}


@pytest.fixture(scope="module")
async def service(settings: dict[str, Any]) -> AsyncIterator[Live]:
    async with live_service(**settings) as live:
        yield live


@pytest.fixture
async def agent(service: Live) -> int:
    portfolio = await service.portfolio(unique("docs"), Atlas=TEXT)
    return await service.agent(unique("agent"), portfolio, provider="openai")


def variables(settings: dict[str, Any], **changes: str) -> dict[str, str]:
    """The environment of a command on the same servers."""
    return {
        "DATABASE_URL": settings["database_url"],
        "REDIS_URL": settings["redis_url"],
        "CITESTREAM_ENCODER__URL": settings["encoder"]["url"],
        "OPENAI_API_KEY": "test",
        "OPENAI_BASE_URL": settings["openai_base_url"],
        **changes,
    }


async def warm(settings: dict[str, Any], agent: int, *arguments: str) -> str:
    """The last line of the command in a process of its own."""
    env = environment(settings["data"], **variables(settings))
    status, printed = await output_of("warm", "--agent", str(agent), *arguments, env=env)
    assert status == 0, printed
    return printed.rstrip().split("\n")[-1]


async def stored(service: Live) -> list[Any]:
    scope = await service.services.credentials.default_scope()
    return list((await service.services.history.list(scope, 1000, None)).items)


async def test_after_an_invalidation_it_asks_what_was_asked_and_stores_nothing(
    service: Live,
    settings: dict[str, Any],
    vendor: VendorServer,
    agent: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for message in (FIRST, FIRST, NEXT, "And who else?"):
        await service.ask(agent, message)
    before = await stored(service)
    for name, value in variables(settings).items():
        monkeypatch.setenv(name, value)
    lines: list[str] = []
    await warm_caches(str(agent), 50, 30, 1, lines.append)
    assert lines[-1] == "2 already cached, 0 produced, 0 not cacheable, 0 failed."
    await service.json("DELETE", f"/api/admin/cache?agent_id={agent}")
    called = len(vendor.requests)
    said = await warm(settings, agent, "--top", "1")
    assert said == "0 already cached, 1 produced, 0 not cacheable, 0 failed."
    assert len(vendor.requests) == called + 1
    assert await stored(service) == before
    answer = await service.ask(agent, FIRST)
    assert (answer["cached"], answer["answer"]) == (True, "Ana Ruiz [1].")
    assert not (await service.ask(agent, NEXT))["cached"]


async def test_it_stops_with_a_sentence_when_the_provider_refuses(
    service: Live,
    settings: dict[str, Any],
    vendor: VendorServer,
    agent: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(6):
        await service.ask(agent, f"Who finished project {number}?")
    await service.json("DELETE", f"/api/admin/cache?agent_id={agent}")
    for name, value in variables(settings).items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    script, vendor.script = vendor.script, Script(status=401)
    try:
        with pytest.raises(Unavailable, match=r"^Stopped after 3 failures in a row: The language"):
            await warm_caches(str(agent), 50, 30, 1, said.append)
    finally:
        vendor.script = script
    assert said == ["0 already cached, 0 produced, 0 not cacheable, 3 failed."]


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"REDIS_URL": ""}, "There is no cache to warm: set REDIS_URL"),
        (
            {"CITESTREAM_FEATURES__ANSWER_CACHE": "false"},
            "There is no cache to warm: set REDIS_URL",
        ),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "There is no cache to warm: Redis does not"),
    ],
    ids=["none", "off", "away"],
)
async def test_without_a_cache_nothing_is_asked(
    settings: dict[str, Any],
    vendor: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    refused: str,
) -> None:
    for name, value in variables(settings, **changes).items():
        monkeypatch.setenv(name, value)
    called = len(vendor.requests)
    with pytest.raises((ConfigurationError, Unavailable), match=refused):
        await warm_caches(None, 50, 30, 1, lambda _: None)
    assert len(vendor.requests) == called


async def test_the_likeliest_next_question_is_there_when_it_is_asked(
    service: Live, settings: dict[str, Any], vendor: VendorServer, agent: int
) -> None:
    for _ in range(2):
        talk = await service.ask(agent, FIRST)
        await service.ask(agent, NEXT, conversation_id=talk["conversation_id"])
    await service.json("DELETE", f"/api/admin/cache?agent_id={agent}")
    async with live_service(**settings, features={"prefetch": True}) as idle:
        called = len(vendor.requests)
        talk = await idle.ask(agent, FIRST)
        async with asyncio.timeout(30), vendor.arrived:
            await vendor.arrived.wait_for(lambda: len(vendor.requests) == called + 2)
        prefetched = vendor.requests[-1]
        assert [each["content"] for each in prefetched.body["messages"]][1:3] == [
            FIRST, "Ana Ruiz [1].",
        ]  # fmt: skip
        await prefetched.finished.wait()
        async with asyncio.timeout(5):  # the last byte was sent, and is still being read
            while idle.services.cache.statistics()["answers"]["puts"] < 2:
                await idle.json("GET", "/healthz")
        answer = await idle.ask(agent, NEXT, conversation_id=talk["conversation_id"])
    assert answer["cached"]
    assert len(vendor.requests) == called + 2


async def test_a_run_that_begins_has_the_provider_for_itself(
    service: Live, settings: dict[str, Any], vendor: VendorServer, agent: int
) -> None:
    for _ in range(2):
        talk = await service.ask(agent, FIRST)
        await service.ask(agent, NEXT, conversation_id=talk["conversation_id"])
    await service.json("DELETE", f"/api/admin/cache?agent_id={agent}")
    async with live_service(**settings, features={"prefetch": True}) as idle:
        called = len(vendor.requests)
        vendor.scripts = [vendor.script, Script(tokens=["Ana"], gates={1: asyncio.Event()})]
        await idle.ask(agent, FIRST)
        async with asyncio.timeout(30), vendor.arrived:
            await vendor.arrived.wait_for(lambda: len(vendor.requests) == called + 2)
        await idle.ask(agent, "Who is Ana Ruiz?")
        async with asyncio.timeout(5):
            await vendor.requests[called + 1].gone.wait()
