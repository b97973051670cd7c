"""Serving an application with uvicorn, and ending it without cutting a stream in silence."""

import asyncio
import errno
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn

from app.accepting import Acceptor, Place

if TYPE_CHECKING:  # a quarter of a second to import, needed when there is something to serve
    from fastapi import FastAPI

# Of the drain time, what is left for streams to take their terminal event after their runs were
# ended, before connections are closed.
LAST_WORDS_SECONDS = 1.5
# How long somebody who has connected before the port was closed may take to say what he wants.
FIRST_WORDS_SECONDS = 0.5
LOOK_SECONDS = 0.01
# As uvicorn counts them.
TICK_SECONDS, TICKS_A_DAY = 0.1, 864_000
# A reader that makes no progress for so long is gone, or as good as.
UNREAD_SECONDS = 30.0
# What the kernel may hold of what a reader has not taken; it takes twice as much memory for it. Of
# itself it takes up to 4 MB for each, and when a few hundred readers hang everybody's connections
# share a tenth of the memory. A round trip of 100 ms still leaves 1.3 MB a second.
UNSENT_BYTES = 128 * 1024


class PortBusy(Exception):
    """The address cannot be listened on; the message says what to do."""


def listen(host: str, port: int, unread_seconds: float = UNREAD_SECONDS) -> socket.socket:
    """A listening socket, taken before anything slow starts; PortBusy in one sentence.

    A client that takes nothing of what it was sent for `unread_seconds` loses its connection (on
    Linux, by the kernel): it must not hold on to a stream for ever. It can resume. Until then
    little is kept for it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, the event loop sets TCP_NODELAY: without it a response that is
    # written in two parts waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # What it accepts inherits these.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNSENT_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(unread_seconds * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortBusy(
                f"Port {port} on {host} is in use; choose another one, e.g. PORT={port + 1}."
            ) from error
        raise PortBusy(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener


class Server(uvicorn.Server):
    """Lets streams finish while draining, then ends their runs so that each says how it ended."""

    def __init__(
        self,
        config: uvicorn.Config,
        end_runs: Callable[[], Awaitable[None]],
        drain_seconds: float,
        place: Place | None,
    ) -> None:
        super().__init__(config)
        self._end_runs = end_runs
        self._drain_seconds = drain_seconds
        self._place = place
        self._acceptors: list[Acceptor] = []
        self._up, self._stopping = asyncio.Event(), asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the command, which has more to stop than this server."""
        yield

    def stop(self) -> None:
        """Begin to drain; a second call closes at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._stopping.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._place is None:
            await super().startup(sockets)
        else:
            await super().startup([])
            self._acceptors = [self._acceptor(each, self._place) for each in sockets or []]
            self.servers.extend(self._acceptors)  # type: ignore[arg-type]
        self._up.set()

    async def main_loop(self) -> None:
        """uvicorn's own, which sleeps through the beginning of the end."""
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 1) % TICKS_A_DAY
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopping.wait()

    async def on_tick(self, counter: int) -> bool:
        for acceptor in self._acceptors:
            acceptor.tell()
        return await super().on_tick(counter)

    async def is_up(self, serving: "asyncio.Task[None]") -> bool:
        """Wait until requests are answered, or serving has ended instead."""
        up = asyncio.create_task(self._up.wait())
        await asyncio.wait({up, serving}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        return self.started

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        last_words = asyncio.create_task(self._end_runs_late())
        try:
            if not self.force_exit:
                await self._hear_the_last(sockets or [])
            await super().shutdown(sockets)
            if self.force_exit:  # uvicorn skips it then, and the worker would be cut in its work
                await self.lifespan.shutdown()
        finally:
            last_words.cancel()

    async def _hear_the_last(self, sockets: Sequence[socket.socket]) -> None:
        """Close the port, and let those who were quicker ask: a proxy whose connection is reset
        cannot know whether its request was read, and must not send a POST again."""
        for acceptor in self._acceptors:
            acceptor.close()
        leave = _leave if self._acceptors else _shut
        waiting = [one for each in sockets for one in _last_of(each, leave)]
        for server in self.servers:
            server.close()
        for each in waiting:
            await self._take(each)
        loop = asyncio.get_running_loop()
        end = loop.time() + FIRST_WORDS_SECONDS
        while loop.time() < end and any(  # noqa: ASYNC110 — nobody tells
            map(_is_about_to_ask, self.server_state.connections)
        ):
            await asyncio.sleep(LOOK_SECONDS)

    async def _take(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol(), connection)
        except OSError:  # it broke before it began
            connection.close()

    def _protocol(self) -> Callable[[], Any]:
        make: Any = self.config.http_protocol_class
        state, lifespan = self.server_state, self.lifespan.state
        return partial(make, config=self.config, server_state=state, app_state=lifespan)

    def _acceptor(self, listener: socket.socket, place: Place) -> Acceptor:
        return Acceptor(listener, self._protocol(), self.server_state.connections, place)

    async def _end_runs_late(self) -> None:
        await asyncio.sleep(max(0.0, self._drain_seconds - LAST_WORDS_SECONDS))
        await self._end_runs()


def _last_of(
    listener: socket.socket, leave: Callable[[socket.socket], None]
) -> list[socket.socket]:
    """Those that wait at the port, which is left before anybody else can come."""
    waiting = []
    with suppress(OSError):  # that there are none
        listener.setblocking(False)
        while True:
            waiting.append(listener.accept()[0])
    with suppress(OSError):
        leave(listener)
    for each in waiting:
        each.setblocking(False)
    return waiting


def _shut(listener: socket.socket) -> None:
    """Refuse whoever comes from here on."""
    listener.shutdown(socket.SHUT_RDWR)


def _leave(listener: socket.socket) -> None:
    """The same once the others that share it have left; until then they take who comes."""
    listener.close()


def _is_about_to_ask(connection: Any) -> bool:
    """Of one of uvicorn's protocols: there was no request on it yet."""
    return connection.cycle is None


def make_server(
    application: "FastAPI",
    *,
    end_runs: Callable[[], Awaitable[None]],
    drain_seconds: float,
    place: Place | None = None,
) -> Server:
    """A server for a socket from `listen`; `await server.serve(sockets=[…])` runs it.

    With a `place` among processes that share the socket, it takes its part of the connections.
    """
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=int(drain_seconds) + 1,
        timeout_keep_alive=75,
        server_header=False,
    )
    return Server(config, end_runs, drain_seconds, place)


@contextmanager
def signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on Ctrl-C and SIGTERM while the block runs."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
