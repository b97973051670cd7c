"""The connections to a vendor over real sockets: kept, bounded, and never one question's for
another."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from app.outgoing import pool as pools
from app.outgoing.exchange import BUFFER_BYTES, Broken, Exchange
from app.outgoing.pool import Exhausted, Pool, Unreachable
from app.outgoing.tls import system_tls
from tests.support.vendors import unused_url

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
CERTIFICATE = Path(__file__).parent.parent / "support" / "localhost.pem"

Handler = Callable[["Served"], Awaitable[None]]


class Served:
    """One connection of the server's side. `number` counts them from 1."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """The next one's path; IncompleteReadError where none comes."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        return head.split(b" ")[1]

    async def send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, text: bytes) -> None:
        await self.send(HEAD + chunk(text) + END)


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(text), text)


class Server:
    """A port of 127.0.0.1 whose connections a handler serves."""

    def __init__(self, handler: Handler) -> None:
        self.connections = 0
        self._handler = handler
        self._running: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.connections += 1
        try:
            await self._handler(Served(self.connections, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._running.discard(task)
            writer.transport.abort()

    async def stop(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@asynccontextmanager
async def serving(
    handler: Handler,
    limit: int = 10,
    connect_seconds: float = 2.0,
    server_tls: ssl.SSLContext | None = None,
    tls: Callable[[], ssl.SSLContext] | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[tuple[Pool, Server]]:
    """A pool of connections to such a server."""
    server = Server(handler)
    listening = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=server_tls)
    port = listening.sockets[0].getsockname()[1]
    pool = Pool(host, port, limit=limit, connect_seconds=connect_seconds, tls=tls)
    try:
        yield pool, server
    finally:
        await pool.aclose()
        assert pool.statistics()["open"] == 0
        listening.close()
        await server.stop()
        await listening.wait_closed()


async def echo(served: Served) -> None:
    """Answer each request with its path."""
    while True:
        await served.answer(await served.request())


def asking(path: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path


async def ask(pool: Pool, path: bytes = b"/") -> bytes:
    exchange = await pool.send(asking(path))
    try:
        return await rest(exchange)
    finally:
        exchange.close()


async def rest(exchange: Exchange) -> bytes:
    found = b""
    while piece := await exchange.read():
        found += piece
    return found


def counted(pool: Pool, *names: str) -> tuple[int, ...]:
    return tuple(pool.statistics()[name] for name in names)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 — what the event loop does by itself
            await asyncio.sleep(0.001)


async def test_one_connection_serves_one_after_the_other() -> None:
    async with serving(echo) as (pool, server):
        for number in range(5):
            path = b"/%d" % number
            assert await ask(pool, path) == path
        assert server.connections == 1
        assert counted(pool, "open", "in_use", "acquired", "opened") == (1, 0, 5, 1)


async def test_one_that_the_vendor_closed_is_not_lent() -> None:
    async def once(served: Served) -> None:
        await served.answer(await served.request())

    async with serving(once) as (pool, server):
        for _ in range(3):
            assert await ask(pool) == b"/"
            await until(lambda: pool.statistics()["open"] == 0)
        assert counted(pool, "acquired", "opened") == (3, 3), "none was tried in vain"
        assert server.connections == 3


async def test_one_that_speaks_unasked_is_not_lent() -> None:
    async def chatty(served: Served) -> None:
        await served.answer(await served.request())
        if served.number == 1:
            said.set()
            await go.wait()
            await served.answer(b"somebody else's")
        await served.answer(await served.request())

    said, go = asyncio.Event(), asyncio.Event()
    async with serving(chatty) as (pool, _):
        assert await ask(pool, b"/1") == b"/1"
        go.set()
        await until(lambda: pool.statistics()["open"] == 0)
        assert await ask(pool, b"/2") == b"/2"


async def test_a_kept_one_that_dies_as_it_is_used_again_is_replaced_once() -> None:
    async def forgetful(served: Served) -> None:
        if served.number == 1:
            await served.answer(await served.request())
        asked.append(await served.request())
        if served.number in answering:
            await served.answer(asked[-1])

    asked: list[bytes] = []
    answering = {2}
    async with serving(forgetful) as (pool, server):
        await ask(pool, b"/first")
        assert await ask(pool, b"/second") == b"/second"
        assert (asked, server.connections) == ([b"/second", b"/second"], 2)
        assert counted(pool, "in_use") == (0,)
    asked.clear()
    answering.clear()
    async with serving(forgetful) as (pool, server):
        await ask(pool, b"/first")
        with pytest.raises(Broken):
            await ask(pool, b"/second")
        assert (len(asked), counted(pool, "in_use", "open")) == (2, (0, 0))


@pytest.mark.parametrize("said", [b"H", HEAD, HEAD + chunk(b"He")], ids=["byte", "head", "body"])
async def test_nothing_is_asked_twice_after_a_byte(said: bytes) -> None:
    async def cut(served: Served) -> None:
        await served.answer(await served.request())
        await served.request()
        await served.send(said)

    async with serving(cut) as (pool, server):
        await ask(pool)
        with pytest.raises(Broken):
            await ask(pool)
        assert server.connections == 1


async def test_a_new_one_that_dies_is_not_tried_again() -> None:
    async def deaf(served: Served) -> None:
        await served.request()

    async with serving(deaf) as (pool, server):
        with pytest.raises(Broken):
            await ask(pool)
        assert server.connections == 1


async def test_no_more_than_the_limit_and_the_others_take_their_turn() -> None:
    async with serving(echo, limit=3) as (pool, server):
        answers = await asyncio.gather(*(ask(pool, b"/%d" % number) for number in range(30)))
        assert answers == [b"/%d" % number for number in range(30)]
        assert server.connections <= 3
        assert counted(pool, "size", "in_use", "waiting", "acquired") == (3, 0, 0, 30)


async def test_who_waits_for_a_place_waits_so_long() -> None:
    async with serving(echo, limit=1, connect_seconds=0.1) as (pool, _):
        held = await pool.send(asking(b"/held"))
        with pytest.raises(Exhausted):
            await ask(pool)
        waiting = asyncio.create_task(ask(pool))
        await until(lambda: pool.statistics()["waiting"] == 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert counted(pool, "waiting", "in_use") == (0, 1)
        turn = asyncio.create_task(ask(pool, b"/turn"))
        await until(lambda: pool.statistics()["waiting"] == 1)
        held.close()
        assert await turn == b"/turn"


async def test_a_cancelled_call_never_leaves_its_answer_to_another() -> None:
    """What happened to ChatGPT's users on 20 March 2023."""
    await cancelled_calls()


async def test_nor_does_it_on_the_services_own_event_loop() -> None:
    await asyncio.to_thread(uvloop.run, cancelled_calls())


async def cancelled_calls() -> None:
    """800 calls to answers of their own, each cancelled at some moment or not at all."""
    chance = random.Random(7)

    async def slow(served: Served) -> None:
        while True:
            path = await served.request()
            for piece in (HEAD[:20], HEAD[20:], chunk(path), chunk(path), END):
                await asyncio.sleep(chance.random() * 0.002)
                await served.send(piece)

    async def one(number: int) -> bool:
        path = b"/%d-%d" % (number, chance.randrange(10**9))
        task = asyncio.create_task(ask(pool, path))
        asyncio.get_running_loop().call_later(chance.random() * 0.02, task.cancel)
        await asyncio.wait({task})
        assert task.cancelled() or task.result() == path * 2
        return not task.cancelled()

    async with serving(slow, limit=8) as (pool, _):
        whole = 0
        for start in range(0, 800, 40):
            whole += sum(await asyncio.gather(*(one(start + each) for each in range(40))))
        assert 0 < whole < 800
        assert counted(pool, "in_use", "waiting") == (0, 0)
        assert await ask(pool, b"/last") == b"/last" * 2


async def test_a_closed_call_is_over_for_the_vendor_at_once() -> None:
    left = asyncio.Event()

    async def endless(served: Served) -> None:
        await served.request()
        await served.send(HEAD + chunk(b"a"))
        try:
            await served.request()
        finally:
            left.set()

    async with serving(endless) as (pool, _):
        exchange = await pool.send(asking(b"/"))
        assert await exchange.read() == b"a"
        exchange.close()
        async with asyncio.timeout(5):
            await left.wait()
        await until(lambda: counted(pool, "open", "in_use") == (0, 0))


async def test_a_reader_that_lags_holds_the_vendor_back() -> None:
    sent = 0

    async def flood(served: Served) -> None:
        nonlocal sent
        await served.request()
        await served.send(HEAD)
        for _ in range(200):
            await served.send(chunk(b"x" * 100_000))
            sent += 100_000
        await served.send(END)
        await served.request()  # there is none: what is still on its way would go with the handler

    async with serving(flood) as (pool, _):
        exchange = await pool.send(asking(b"/"))
        await until(lambda: exchange._paused)
        assert sent < 20_000_000
        first = await exchange.read()
        assert BUFFER_BYTES < len(first) < 2_000_000
        assert len(first) + len(await rest(exchange)) == 20_000_000
        exchange.close()
        assert counted(pool, "open") == (1,), "and the connection is good for another"


async def test_unused_ones_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(pools, "MAX_IDLE", 2)
    async with serving(echo) as (pool, _):
        held = [await pool.send(asking(b"/")) for _ in range(4)]
        for exchange in held:
            await rest(exchange)
            exchange.close()
        await until(lambda: pool.statistics()["open"] == 2)
        await until(lambda: pool.statistics()["open"] == 0)
        assert await ask(pool) == b"/"


async def test_closing_the_pool_ends_what_is_going_on() -> None:
    async with serving(echo) as (pool, _):
        exchange = await pool.send(asking(b"/"))
        assert await rest(exchange) == b"/"
        await pool.aclose()
        exchange.close()
        with pytest.raises(Unreachable):
            await ask(pool)
        assert counted(pool, "in_use", "open") == (0, 0)


async def test_a_host_of_several_addresses_of_which_one_answers() -> None:
    async with serving(echo, host="localhost") as (pool, _):
        assert await ask(pool) == b"/"


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "a..b", ""])
async def test_where_nobody_listens(host: str) -> None:
    port = int(unused_url().rpartition(":")[2])
    pool = Pool(host, port, connect_seconds=1)
    with pytest.raises(Unreachable):
        await ask(pool)
    assert counted(pool, "in_use", "open") == (0, 0)
    await pool.aclose()


class TestTls:
    def server(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE)
        return context

    async def test_over_it_all_is_the_same(self) -> None:
        def trusting() -> ssl.SSLContext:
            context = system_tls()
            context.load_verify_locations(CERTIFICATE)
            return context

        async with serving(echo, server_tls=self.server(), tls=trusting, host="localhost") as (
            pool,
            server,
        ):
            for number in range(3):
                path = b"/%d" % number
                assert await ask(pool, path) == path
            assert server.connections == 1

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    async def test_who_cannot_prove_who_he_is_is_told_nothing(self, host: str) -> None:
        asked: list[bytes] = []

        async def listening(served: Served) -> None:
            asked.append(await served.request())

        async with serving(listening, server_tls=self.server(), tls=system_tls, host=host) as (
            pool,
            _,
        ):
            with pytest.raises(Unreachable) as caught:
                await ask(pool)
            assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        assert asked == []
