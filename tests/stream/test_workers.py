"""`citestream serve --workers 2` as a supervisor and its users see it."""

import asyncio
import os
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import orjson
import psutil
import pytest

from tests.stream.test_shutdown import codes, open_streams, ready_address
from tests.support.command import START_SECONDS, command, ended, environment, output_of
from tests.support.live import unique
from tests.support.vendors import Script, VendorServer

WAIT_SECONDS = 30


class Service:
    """The command, the workers that it has, and what their log says."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.address = ""
        self.workers: list[int] = []

    async def next_log(self, event: str) -> dict[str, Any]:
        """The next line of the log with this event."""
        assert self.process.stderr is not None
        async with asyncio.timeout(START_SECONDS):
            async for line in self.process.stderr:
                with suppress(orjson.JSONDecodeError):
                    logged: dict[str, Any] = orjson.loads(line)
                    if logged["event"] == event:
                        return logged
        raise AssertionError(f"ended without {event}")

    async def replacement(self) -> int:
        """The process id of the next worker that is ready."""
        pid = int((await self.next_log("worker ready"))["pid"])
        self.workers.append(pid)
        return pid

    async def all_gone(self) -> None:
        """Return when nobody is left who could log: the command and every worker has ended."""
        assert self.process.stderr is not None
        async with asyncio.timeout(WAIT_SECONDS):
            await self.process.stderr.read()

    def http(self) -> httpx2.AsyncClient:
        """A client that makes a connection for each request."""
        alone = httpx2.Limits(max_keepalive_connections=0)
        return httpx2.AsyncClient(
            base_url=self.address, trust_env=False, timeout=WAIT_SECONDS, limits=alone
        )


def variables(connections: dict[str, Any], vendor: VendorServer, **more: str) -> dict[str, str]:
    """The environment of a service on the suite's servers, with the vendor's model."""
    addresses = {
        "OPENAI_API_KEY": "test",
        "OPENAI_BASE_URL": vendor.openai_url,
        "DATABASE_URL": connections["database_url"],
        "REDIS_URL": connections["redis_url"],
        "CITESTREAM_ENCODER__URL": connections["encoder"]["url"],
    }
    return environment(connections["data"], PORT="0", **addresses, **more)


@asynccontextmanager
async def served(env: dict[str, str], *arguments: str) -> AsyncGenerator[Service]:
    """Two workers, both ready; ended at the end."""
    process = await asyncio.create_subprocess_exec(
        *command("serve", *(arguments or ("--workers", "2"))),
        env=env,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    service = Service(process)
    try:
        await service.replacement()
        await service.replacement()
        service.address = await ready_address(process)
        yield service
    finally:
        if process.returncode is None:
            process.terminate()
            await ended(process)


@pytest.fixture
async def vendor() -> AsyncIterator[VendorServer]:
    """A model that says two words and then waits for ever."""
    async with VendorServer() as server:
        server.script = Script(tokens=["Ana", " Ruiz", " did"], gates={2: asyncio.Event()})
        yield server


@pytest.fixture
async def pair(connections: dict[str, Any], vendor: VendorServer) -> AsyncIterator[Service]:
    async with served(variables(connections, vendor, CITESTREAM_DRAIN_SECONDS="30")) as service:
        yield service


async def healthy(http: httpx2.AsyncClient) -> bool:
    return (await http.get("/healthz")).status_code == 200


async def no_longer_heard(http: httpx2.AsyncClient) -> None:
    """Return when nobody takes connections any more."""
    with pytest.raises((httpx2.ConnectError, httpx2.ReadError, httpx2.RemoteProtocolError)):
        while True:
            await healthy(http)


async def open_answers(http: httpx2.AsyncClient) -> list[asyncio.Task[list[Any]]]:
    """Streams of a new agent's, which have had a token each."""
    body = {"name": unique("modelled"), "provider": "openai"}
    agent = (await http.post("/api/agents", json=body)).json()["id"]
    return await open_streams(http, agent)


async def test_each_serves_while_the_other_hangs_and_one_that_dies_is_replaced(
    pair: Service, vendor: VendorServer
) -> None:
    one, other = pair.workers
    async with pair.http() as http:
        for hanging in (one, other):
            os.kill(hanging, signal.SIGSTOP)
            assert all([await healthy(http) for _ in range(4)])
            os.kill(hanging, signal.SIGCONT)
        os.kill(one, signal.SIGKILL)
        assert all([await healthy(http) for _ in range(4)])
        told = await pair.next_log("worker ended")
        assert told["reason"] == f"Worker process {one} was ended by SIGKILL."
        new = await pair.replacement()
        os.kill(other, signal.SIGSTOP)
        assert await healthy(http), "it is the new one that answers"
        os.kill(other, signal.SIGCONT)
        assert {each.pid for each in psutil.Process(pair.process.pid).children()} == {other, new}
        streams = await open_answers(http)
        pair.process.send_signal(signal.SIGINT)
        await no_longer_heard(http)
        pair.process.send_signal(signal.SIGINT)  # somebody is impatient
        assert codes(await asyncio.gather(*streams)) == {"interrupted"}
    assert await ended(pair.process) == 0
    assert all(call.gone.is_set() for call in vendor.requests)


async def test_sigterm_lets_streams_finish_whoever_gets_it(
    pair: Service, vendor: VendorServer
) -> None:
    """Some supervisors signal all processes of a service, not just the one they have started."""
    async with pair.http() as http:
        streams = await open_answers(http)
        for pid in (*pair.workers, pair.process.pid):
            os.kill(pid, signal.SIGTERM)
        await no_longer_heard(http)
        vendor.script.gates[2].set()
        assert codes(await asyncio.gather(*streams)) == {"done"}
    assert await ended(pair.process) == 0


async def test_without_their_parent_the_workers_end_their_streams_and_themselves(
    connections: dict[str, Any], vendor: VendorServer
) -> None:
    async with served(variables(connections, vendor, CITESTREAM_DRAIN_SECONDS="1")) as service:
        async with service.http() as http:
            streams = await open_answers(http)
            service.process.kill()
            assert codes(await asyncio.gather(*streams)) == {"interrupted"}
        await service.all_gone()


async def test_what_keeps_it_from_serving_is_one_sentence(
    connections: dict[str, Any], vendor: VendorServer
) -> None:
    env = {**variables(connections, vendor), "CITESTREAM_WORKERS": "2"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, printed = await output_of("serve", env={**env, "PORT": port})
    assert (status, printed.count("\n")) == (1, 1)
    assert f"Port {port} on 127.0.0.1 is in use" in printed
    status, printed = await output_of("serve", env={**env, "DATABASE_URL": ""})
    assert (status, printed.count("\n")) == (1, 1)
    assert printed.startswith("citestream: Set DATABASE_URL")
    status, printed = await output_of("serve", "--profile", "fast", env=env)
    assert (status, printed.count("\n")) == (1, 1)
    assert "fast is no profile; there are high-throughput, low-latency, memory-const" in printed


async def test_a_signal_before_it_is_ready_is_no_failure(
    connections: dict[str, Any], vendor: VendorServer
) -> None:
    """It waits for an encoder that takes the connection and says nothing."""
    with socket.socket() as encoder:
        encoder.bind(("127.0.0.1", 0))
        encoder.listen()
        encoder.setblocking(False)
        url = f"http://127.0.0.1:{encoder.getsockname()[1]}"
        env = {**variables(connections, vendor), "CITESTREAM_ENCODER__URL": url}
        process = await asyncio.create_subprocess_exec(
            *command("serve"), env=env, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        async with asyncio.timeout(START_SECONDS):
            connection, _ = await asyncio.get_running_loop().sock_accept(encoder)
        with connection:
            process.terminate()
            printed, logged = await process.communicate()
    assert process.returncode == 0
    assert printed.decode() == "Stopped before it was ready.\n"
    assert b"Traceback" not in logged
