"""One answer's bytes, cut anywhere: what is read, how it ends, and whether its connection is good
for another."""

import asyncio
from typing import Any

import pytest

from app.outgoing.exchange import BUFFER_BYTES, MAX_HEAD_BYTES, Broken, Exchange

CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"5\r\nHello\r\n7\r\n, world\r\n0\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nHello, world"


class Wire:
    """The other end: what was told of the flow, and what was closed."""

    def __init__(self) -> None:
        self.flow: list[bool] = []
        self.over: list[Exchange] = []
        self.exchange = Exchange(self.flow.append, self.over.append)


async def rest(exchange: Exchange) -> bytes:
    found = b""
    while piece := await exchange.read():
        found += piece
    return found


@pytest.mark.parametrize(
    ("data", "keep_alive"),
    [
        (CHUNKED + BODY, True),
        (SIZED, True),
        (SIZED.replace(b"1.1", b"1.0"), False),
        (SIZED.replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n"), False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + SIZED, True),
        (SIZED + b"HTTP/1.1 200 OK\r\n", False),
        (SIZED + b"?", False),
        (CHUNKED + BODY[:-2] + b"X-Trailer: 1\r\n\r\n", True),
    ],
    ids=["chunked", "sized", "1.0", "close", "news", "another", "more", "trailer"],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_whole(data: bytes, keep_alive: bool, size: int) -> None:
    wire = Wire()
    for at in range(0, len(data), size):
        wire.exchange.feed(data[at : at + size])
    await wire.exchange.head()
    assert wire.exchange.status == 200
    assert "link" not in wire.exchange.headers
    assert await rest(wire.exchange) == b"Hello, world"
    assert (wire.exchange.complete, wire.exchange.keep_alive) == (True, keep_alive)
    wire.exchange.close()
    wire.exchange.close()
    assert wire.over == [wire.exchange]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200",
        CHUNKED + b"5\r\nHello\r\n",
        CHUNKED + b"5\r\nHel",
        SIZED[:-1],
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ],
    ids=["nothing", "half a head", "no last chunk", "half a chunk", "too short", "upgrade"],
)
async def test_cut(data: bytes) -> None:
    wire = Wire()
    if data:
        wire.exchange.feed(data)
    wire.exchange.lost(None)
    with pytest.raises(Broken):
        await wire.exchange.head()
        await rest(wire.exchange)
    assert not wire.exchange.complete
    assert wire.exchange.responded == bool(data)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16",
        b"HTTP/2 200 OK\r\n\r\n",
        CHUNKED + b"5\r\nHello\r\nX\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD_BYTES,
    ],
    ids=["ssh", "tls", "http/2", "bad chunk", "two lengths", "length and chunked", "endless head"],
)
async def test_what_is_no_http(data: bytes) -> None:
    wire = Wire()
    wire.exchange.feed(data)
    with pytest.raises(Broken):
        await wire.exchange.head()
        await rest(wire.exchange)
    assert not (wire.exchange.complete or wire.exchange.keep_alive)


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    wire, reset = Wire(), Wire()
    for each in (wire, reset):
        each.exchange.feed(head + b"Hello")
    wire.exchange.lost(None)
    assert await rest(wire.exchange) == b"Hello"
    assert (wire.exchange.complete, wire.exchange.keep_alive) == (True, False)
    reset.exchange.lost(ConnectionResetError())
    assert await reset.exchange.read() == b"Hello"
    with pytest.raises(Broken):
        await reset.exchange.read()


async def test_what_came_before_a_fault_is_read_first() -> None:
    wire = Wire()
    wire.exchange.feed(CHUNKED + b"5\r\nHello\r\n")
    wire.exchange.lost(ConnectionResetError())
    assert await wire.exchange.read() == b"Hello"
    with pytest.raises(Broken) as caught:
        await wire.exchange.read()
    assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_a_vendor_that_is_faster_than_its_reader_waits() -> None:
    wire = Wire()
    wire.exchange.feed(CHUNKED)
    piece = b"x" * 16_000
    for _ in range(BUFFER_BYTES // len(piece) + 1):
        assert wire.flow == []
        wire.exchange.feed(b"%x\r\n%b\r\n" % (len(piece), piece))
    assert wire.flow == [False]
    await wire.exchange.read()
    assert wire.flow == [False, True]


async def test_the_deadline_moves_without_another_timer() -> None:
    loop = asyncio.get_running_loop()
    wire = Wire()
    wire.exchange.feed(CHUNKED)
    wire.exchange.until(loop.time() + 0.02)
    wire.exchange.until(loop.time() + 0.15)  # the alarm goes off before, and is set again
    reading = asyncio.create_task(wire.exchange.read())
    began = loop.time()
    with pytest.raises(TimeoutError):
        await reading
    assert loop.time() - began > 0.1
    wire.exchange.until(loop.time() + 60)
    wire.exchange.until(loop.time() + 0.01)  # and may come sooner than the alarm
    with pytest.raises(TimeoutError):
        await wire.exchange.read()
    wire.exchange.until(loop.time() + 60)
    wire.exchange.feed(BODY)
    assert await rest(wire.exchange) == b"Hello, world"
    wire.exchange.close()


async def test_what_is_late_is_read_all_the_same_when_it_is_there() -> None:
    loop = asyncio.get_running_loop()
    wire = Wire()
    wire.exchange.feed(CHUNKED + BODY)
    wire.exchange.until(loop.time() - 1)
    assert await rest(wire.exchange) == b"Hello, world"
    wire.exchange.close()


async def test_a_closed_one_says_so(caplog: Any) -> None:
    wire = Wire()
    wire.exchange.feed(CHUNKED)
    waiting = asyncio.create_task(wire.exchange.read())
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    wire.exchange.close()
    with pytest.raises(Broken):
        await wire.exchange.read()
    assert caplog.records == []
