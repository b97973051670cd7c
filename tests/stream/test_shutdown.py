"""Ends that come while answers are being written: of the service, and of its database."""

import asyncio
import re
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from app.bootstrap import Settings, migrate
from app.embedded.home import open_home
from app.embedded.postgres import APP, OWNER, Postgres, url
from tests.support.command import START_SECONDS, command, ended, environment, with_models
from tests.support.live import events, live_service, unique
from tests.support.vendors import Script, VendorServer
from tests.support.waiting import until

TEXT = "Atlas is a dashboard built with React. It was finished in 2021 by Ana Ruiz."
STREAMS = 8


@pytest.fixture(scope="module")
def data(server_folder: Path, exports: Path) -> Path:
    """Of the command."""
    return with_models(server_folder / "signalled", exports)


@pytest.fixture
async def vendor() -> AsyncIterator[VendorServer]:
    """A model that says two words and then waits for ever."""
    async with VendorServer() as server:
        server.script = Script(tokens=["Ana", " Ruiz", " did"], gates={2: asyncio.Event()})
        yield server


@pytest.fixture
async def own_postgres(server_folder: Path) -> AsyncIterator[Postgres]:
    """A database that this test may kill."""
    folder = server_folder / unique("postgres")
    folder.mkdir(mode=0o711)
    postgres = Postgres(open_home(folder), folder)
    await postgres.start(lambda _: None)
    yield postgres
    postgres.stop()


async def open_streams(http: httpx2.AsyncClient, agent: int) -> list["asyncio.Task[list[Any]]"]:
    """Streams that have had a token each, still going on."""
    flowing = [asyncio.Event() for _ in range(STREAMS)]

    async def one(number: int) -> list[Any]:
        seen = []
        body = {"message": f"Who finished project number {number}?"}
        async with http.stream("POST", f"/api/agents/{agent}/chat/stream", json=body) as response:
            async for event in events(response):
                seen.append(event)
                if event["type"] == "token":
                    flowing[number].set()
        return seen

    streams = [asyncio.create_task(one(number)) for number in range(STREAMS)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(each.wait() for each in flowing))
    return streams


def codes(streams: list[list[Any]]) -> set[str]:
    """How the streams ended, each of them with the one terminal event it has."""
    for seen in streams:
        assert [event["type"] in ("done", "error") for event in seen].count(True) == 1
    return {seen[-1].get("code", "done") for seen in streams}


def with_model(vendor: VendorServer) -> dict[str, Any]:
    return {"openai_api_key": "test", "openai_base_url": vendor.openai_url}


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT] * 2], ids=["term", "twice"])
async def test_a_signal_ends_the_commands_streams_in_time_and_leaves_no_traceback(
    server_folder: Path, data: Path, vendor: VendorServer, signals: list[signal.Signals]
) -> None:
    """In an orderly way within the drain time, and at once where somebody is impatient."""
    clock = asyncio.get_running_loop().time
    errors = server_folder / unique("errors")
    variables = {
        "PORT": "0",
        "OPENAI_API_KEY": "sk-planted-secret",
        "OPENAI_BASE_URL": vendor.openai_url,
        "CITESTREAM_DRAIN_SECONDS": "2",
    }
    with errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command("run"),
            env=environment(data, **variables),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        address = await ready_address(process)
        async with httpx2.AsyncClient(base_url=address, trust_env=False, timeout=30) as http:
            agents = (await http.get("/api/agents")).json()
            streams = await open_streams(http, agents["items"][0]["id"])
            began = clock()
            for number in signals:
                process.send_signal(number)
                # It has heard one when it takes no more connections; two at an instant are one.
                await until(lambda: refuses(address))
            assert codes(await asyncio.gather(*streams)) == {"interrupted"}
            assert clock() - began < 2
    finally:
        if process.returncode is None:
            process.terminate()
        assert await ended(process) == 0
    assert all(call.gone.is_set() for call in vendor.requests)
    logged = errors.read_text()
    assert "Traceback" not in logged
    assert "sk-planted-secret" not in logged


async def refuses(address: str) -> bool:
    """Whether nobody listens there any more."""
    where = urlsplit(address)
    try:
        _, writer = await asyncio.open_connection(where.hostname, where.port)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # Arrived at the very instant of the end: asked once more.
        return False
    writer.close()
    return False


async def ready_address(process: Process) -> str:
    """Where the command serves, as soon as it says so."""
    assert process.stdout is not None
    async with asyncio.timeout(START_SECONDS):
        async for line in process.stdout:
            if found := re.search(rb"is ready: (http://\S+)", line):
                return found[1].decode()
    raise AssertionError("ended before it was ready")


async def test_a_killed_database_ends_streams_with_an_error_and_is_found_again(
    own_postgres: Postgres, connections: dict[str, Any], vendor: VendorServer
) -> None:
    addresses = {
        "database_url": url(APP, own_postgres.sockets),
        "database_owner_url": url(OWNER, own_postgres.sockets),
    }
    settings = {**connections, **addresses, **with_model(vendor)}
    await migrate(Settings(**settings))
    async with live_service(**settings) as live:
        portfolio = await live.portfolio("docs", Atlas=TEXT)
        modelled = await live.agent("modelled", None, provider="openai")
        quoting = await live.agent("quoting", portfolio, provider="extractive")
        kept = await live.ask(quoting, "Who finished Atlas?")
        streams = await open_streams(live.http, modelled)
        own_postgres._server.kill()  # type: ignore[union-attr]
        gate = vendor.script.gates[2]
        gate.set()
        async with asyncio.timeout(10):
            assert codes(await asyncio.gather(*streams)) == {"database_unavailable"}
        body = {"message": "Who finished Atlas?"}
        refused = await live.http.post(f"/api/agents/{quoting}/chat", json=body)
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        assert "Retry-After" in refused.headers
        await own_postgres.start(lambda _: None)
        async with asyncio.timeout(5):
            while True:
                again = await live.http.post(f"/api/agents/{quoting}/chat", json=body)
                if again.status_code == 200:
                    break
        assert "Ana Ruiz" in again.json()["answer"]
        await live.json("GET", f"/api/conversations/{kept['conversation_id']}")
