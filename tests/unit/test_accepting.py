"""Connections are shared: nobody takes all that wait, and nobody loses one."""

import asyncio
import errno
import itertools
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from structlog.testing import capture_logs

from app.accepting import Acceptor, Place
from app.serving import listen
from app.shares import ABSENT, Shares, table

BURST = 64


class Counting(asyncio.Protocol):
    """Of one of the processes: says a byte to each peer."""

    def __init__(self, connections: list[asyncio.Transport]) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._connections.append(transport)
        transport.write(b"x")


class Sharing:
    """Acceptors on one listener and one loop, where they take turns as processes do."""

    def __init__(self, listener: socket.socket, count: int) -> None:
        self.shares = Shares(table(count), count)
        self.connections: list[list[asyncio.Transport]] = [[] for _ in range(count)]
        self.listeners = [listener.dup() for _ in range(count)]
        self.acceptors: list[Acceptor] = []
        self._listener = listener
        self._clients: list[socket.socket] = []

    def join(self, slot: int) -> None:
        mine = self.connections[slot]
        place = Place(self.shares, slot)
        acceptor = Acceptor(self.listeners[slot], lambda: Counting(mine), mine, place)
        self.acceptors.append(acceptor)

    def connect(self) -> socket.socket:
        client = socket.create_connection(self._listener.getsockname())
        client.setblocking(False)
        self._clients.append(client)
        return client

    def counts(self) -> list[int]:
        return [len(mine) for mine in self.connections]

    def close(self) -> None:
        for acceptor in self.acceptors:
            acceptor.close()
        for transport in itertools.chain(*self.connections):
            transport.close()
        for each in (*self.listeners, *self._clients):
            each.close()


@pytest.fixture
async def two() -> AsyncIterator[Sharing]:
    with listen("127.0.0.1", 0) as listener:
        sharing = Sharing(listener, 2)
        yield sharing
        sharing.close()


async def served(*clients: socket.socket) -> None:
    for client in clients:
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b"x"


async def test_of_connections_that_come_at_once_each_takes_its_part(two: Sharing) -> None:
    clients = [two.connect() for _ in range(BURST)]
    two.join(0)
    two.join(1)
    await served(*clients)
    assert two.counts() == [BURST // 2] * 2


async def test_one_that_comes_later_is_given_what_comes_then(two: Sharing) -> None:
    two.join(0)
    await served(*[two.connect() for _ in range(8)])
    two.join(1)
    await served(*[two.connect() for _ in range(8)])
    assert max(two.counts()) <= 9, "those that are just beginning count twice for a moment"


async def test_one_that_hangs_is_not_waited_for(two: Sharing) -> None:
    two.shares.has(1, 0)
    two.join(0)
    await served(*[two.connect() for _ in range(4)])
    assert two.counts() == [4, 0]


async def test_a_closed_one_takes_nothing_and_is_not_waited_for(two: Sharing) -> None:
    two.join(0)
    two.join(1)
    two.acceptors[0].close()
    await served(*[two.connect() for _ in range(4)])
    assert two.counts() == [0, 4]
    assert two.shares.is_turn_of(1)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """All that this process may open is open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        highest = stack.enter_context(socket.socket()).fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with suppress(OSError):  # the gaps below it
            while True:
                stack.enter_context(socket.socket())
        yield


async def test_without_a_descriptor_left_a_connection_waits(two: Sharing) -> None:
    two.join(0)
    client = two.connect()
    with capture_logs() as logs, no_descriptors():
        while not logs:  # noqa: ASYNC110 — it comes with one of the loop's next turns
            await asyncio.sleep(0)
    assert [(each["event"], each["reason"]) for each in logs] == [
        ("no connection can be taken", os.strerror(errno.EMFILE))
    ]
    await served(client)


@pytest.mark.parametrize(
    ("numbers", "turns"),
    [
        ([0, 0], [True, True]),
        ([1, 0], [False, True]),
        ([16, 15], [False, True]),
        ([33, 32], [True, True]),
        ([35, 32], [False, True]),
        ([7, ABSENT], [True, False]),
    ],
)
def test_whose_turn_it_is(numbers: list[int], turns: list[bool]) -> None:
    shares = Shares(table(2), 2)
    for slot, number in enumerate(numbers):
        shares.has(slot, number)
    assert [shares.is_turn_of(slot) for slot in (0, 1)] == turns
