"""`citestream bench stream`: one run's tokens to many readers of its process.

What is measured is this process's CPU time, kernel included, beside writing the same bytes to as
many sockets and nothing else. The sockets are real (TCP on the loopback) and read by another
process. Both, and the same over HTTP, go on in turns of a few tokens each: what they differ by is
less than the time of a write, and a machine that is busy is so for all of them.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

from fastapi import FastAPI
from fastapi.responses import Response

from app.api.sse import EventStream, frame
from app.bench.figures import Figure
from app.bench.workers import Worker, worker
from app.chat.events import Token
from app.chat.model import Scope
from app.chat.replay import failed
from app.chat.run import Run
from app.errors import Interrupted
from app.serving import listen, make_server

READERS, TOKENS = 500, 200
TURN = 10  # tokens
LIMIT_US = 3.0
SETTLE_SECONDS = 0.02  # the other process takes what is in the sockets' buffers

PLAIN, FOLLOWED, SERVED = "sockets alone", "readers of a run", "readers over HTTP"


@dataclass(slots=True)
class Way:
    """How a token gets to all readers. `pieces` counts what each of them was given."""

    tell: Callable[[Token], None]
    transports: Sequence[asyncio.Transport]
    pieces: list[int] = field(default_factory=list)

    async def settle(self) -> None:
        """Wait until everything that was written is out."""
        while any(each.get_write_buffer_size() for each in self.transports):  # noqa: ASYNC110
            await asyncio.sleep(SETTLE_SECONDS)
        await asyncio.sleep(SETTLE_SECONDS)


async def bench_stream(
    rounds: int, say: Callable[[str], None], readers: int = READERS
) -> list[Figure]:
    """Microseconds of a reader and token, each round's. Raises WorkerFailed."""
    async with AsyncExitStack() as stack:
        drain = await stack.enter_async_context(worker("app.bench.drain"))
        ways = {
            PLAIN: await stack.enter_async_context(_plain(drain, readers)),
            FOLLOWED: await stack.enter_async_context(_followed(drain, readers)),
            SERVED: await stack.enter_async_context(_served(drain, readers)),
        }
        measured: list[dict[str, float]] = []
        for number in range(rounds + 1):
            costs = await _round(ways, readers)
            if number:  # the first warms everything up
                measured.append(costs)
                told = ", ".join(f"{name} {cost:.1f} µs" for name, cost in costs.items())
                say(f"round {number} of {rounds}, a reader and token: {told}")
        merged = sum(each != (rounds + 1) * TOKENS for each in ways[FOLLOWED].pieces)
    return figures(measured, readers, merged)


def figures(measured: Sequence[dict[str, float]], readers: int, merged: int) -> list[Figure]:
    """`merged` is how many readers were not given each token by itself."""
    beyond = {name: [each[name] - each[PLAIN] for each in measured] for name in (FOLLOWED, SERVED)}
    return [
        Figure(
            f"writing to {readers} sockets, each token",
            "µs",
            [each[PLAIN] for each in measured],
            yardstick=True,
        ),
        Figure(f"a run with {readers} readers, beyond that", "µs", beyond[FOLLOWED], LIMIT_US),
        Figure(f"the same with {readers} readers over HTTP", "µs", beyond[SERVED]),
        Figure("readers that were given several tokens at once", "", [merged], 0),
    ]


async def _round(ways: dict[str, Way], readers: int) -> dict[str, float]:
    """CPU time in microseconds by way, of a reader and token."""
    seconds = dict.fromkeys(ways, 0.0)
    for _ in range(TOKENS // TURN):
        for name in random.sample(list(ways), len(ways)):
            began = time.process_time()
            for number in range(TURN):
                ways[name].tell(Token(f" word{number}"))
                await asyncio.sleep(0)  # readers that were woken write, and wait again
            await asyncio.sleep(0)  # what was written last goes out
            seconds[name] += time.process_time() - began
            await ways[name].settle()
    return {name: each / (TOKENS * readers) * 1e6 for name, each in seconds.items()}


@asynccontextmanager
async def _plain(drain: Worker, readers: int) -> AsyncIterator[Way]:
    """Write to every socket."""
    async with _sockets(drain, readers) as transports:
        numbers = iter(range(1, 1 << 30))

        def tell(token: Token) -> None:
            encoded = frame(next(numbers), token.content)
            for transport in transports:
                transport.write(encoded)

        yield Way(tell, transports)


@asynccontextmanager
async def _followed(drain: Worker, readers: int) -> AsyncIterator[Way]:
    """Append to a run, whose readers write to their sockets."""
    async with _sockets(drain, readers) as transports:
        run = _run()
        way = Way(run.append, transports, [0] * readers)
        tasks = [
            asyncio.create_task(_follow(run, transport, way.pieces, number))
            for number, transport in enumerate(transports)
        ]
        await asyncio.sleep(0)  # each is there, and waits
        yield way
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(run: Run, transport: asyncio.Transport, pieces: list[int], number: int) -> None:
    async for frames in run.frames():
        transport.write(frames)
        pieces[number] += 1


@asynccontextmanager
async def _served(drain: Worker, readers: int) -> AsyncIterator[Way]:
    """Append to a run that is served as the API does."""
    app, run = FastAPI(), _run()

    @app.get("/events")
    async def events() -> Response:
        return EventStream(run.frames())

    async def end_runs() -> None:
        """There is none that would go on."""

    with listen("127.0.0.1", 0) as listener:
        server = make_server(app, end_runs=end_runs, drain_seconds=1)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.is_up(serving)
        request = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
        task = {"port": listener.getsockname()[1], "count": readers, "send": request}
        await drain.ask(task)
        connections = cast(set[Any], server.server_state.connections)
        yield Way(run.append, [each.transport for each in connections])
        run.append(failed(Interrupted()))  # the end of each response
        server.stop()
        await serving


def _run() -> Run:
    return Run(UUID(int=0), Scope(1), 0.0, frame)


@asynccontextmanager
async def _sockets(drain: Worker, count: int) -> AsyncIterator[list[asyncio.Transport]]:
    """So many connections, each with a reader in the other process."""
    transports: list[asyncio.Transport] = []
    all_here = asyncio.Event()

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transports.append(cast(asyncio.Transport, transport))
            if len(transports) == count:
                all_here.set()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Accepted, "127.0.0.1", 0, backlog=count)
    await drain.ask({"port": server.sockets[0].getsockname()[1], "count": count, "send": ""})
    await all_here.wait()
    yield transports
    for transport in transports:
        transport.abort()
    server.close()
