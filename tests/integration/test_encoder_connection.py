"""The encoder's connections over real sockets: which are used again, and which never."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.encoder.connection import Address, Connection
from app.errors import EncoderUnavailable
from tests.support.waiting import until

# Of localhost, signed by itself.
CERTIFICATE = Path(__file__).parents[1] / "support" / "localhost.pem"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"


@asynccontextmanager
async def server(
    serve: Serve, socket_path: Path | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server's address; its connections are closed when `serve` returns."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            tasks.add(task)
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    if socket_path is None:
        running = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        host = "https://localhost" if tls else "http://127.0.0.1"
        url = f"{host}:{running.sockets[0].getsockname()[1]}"
    else:
        running = await asyncio.start_unix_server(connected, socket_path)
        url = f"unix://{socket_path}"
    try:
        yield url
    finally:
        running.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Script:
    """Answers each connection's requests with the next bytes of its list, then hangs up. Keeps
    what it was asked, by connection."""

    def __init__(self, *connections: Sequence[bytes]) -> None:
        self._left = list(connections)
        self.asked: list[list[bytes]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard: list[bytes] = []
        self.asked.append(heard)
        for answer in self._left.pop(0):
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()


def whole(text: str, *headers: str) -> bytes:
    lines = ("HTTP/1.1 200 OK", f"Content-Length: {len(text)}", *headers, "", text)
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (whole("first"), b"first"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n", b"first"),
        (b"HTTP/1.1 100 Continue\r\nOne: 1\r\n\r\n" + whole("first"), b"first"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_a_whole_answer_leaves_a_connection_to_use_again(
    answer: bytes, content: bytes
) -> None:
    script = Script([answer, SECOND])
    async with server(script) as url:
        connection = Connection(f"{url}/models/v1", "key", 5.0)
        first = await connection.send("GET", "info")
        second = await connection.send("GET", "health")
        await connection.aclose()
    assert (first.content, second.content) == (content, b"second")
    assert "one" not in first.headers
    [[info, health]] = script.asked
    assert info.startswith(b"GET /models/info HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer key\r\n" in health


@pytest.mark.parametrize(
    "answer",
    [
        whole("first", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nfirst",
        whole("first") + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nothers",
        b"HTTP/1.1 200 OK\r\n\r\nfirst",  # to the end of the connection
    ],
)
async def test_after_any_other_the_next_request_has_a_connection_of_its_own(answer: bytes) -> None:
    script = Script([answer], [SECOND])
    async with server(script) as url:
        connection = Connection(url, None, 5.0)
        assert (await connection.send("GET", "info")).content == b"first"
        assert (await connection.send("GET", "info")).content == b"second"
        await connection.aclose()
    assert [len(each) for each in script.asked] == [1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfir",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n",
        b"SSH-2.0-server\r\n",
        b"",
    ],
)
async def test_what_is_cut_or_is_no_answer_is_asked_once_more(answer: bytes) -> None:
    script = Script([answer], [whole("second", "Connection: close")], [answer], [answer])
    async with server(script) as url:
        connection = Connection(url, None, 5.0)
        assert (await connection.send("POST", "rerank", b"{}")).content == b"second"
        with pytest.raises(EncoderUnavailable, match="cannot be reached"):
            await connection.send("POST", "rerank", b"{}")
        await connection.aclose()
    assert [len(each) for each in script.asked] == [1, 1, 1, 1]


async def test_the_answer_to_a_cancelled_request_is_never_anothers() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        for text in ("late", "later") if served == 1 else ("own",):
            await reader.readuntil(b"\r\n\r\n")
            if served == 1:
                asked.set()
                await go_on.wait()
            writer.write(whole(text))
            await writer.drain()
        await reader.read()

    async with server(serve) as url:
        connection = Connection(url, None, 5.0)
        task = asyncio.create_task(connection.send("GET", "info"))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        assert (await connection.send("GET", "info")).content == b"own"
        assert (served, task.cancelled()) == (2, True)
        await connection.aclose()


async def test_a_kept_connection_that_the_server_closes_is_not_counted() -> None:
    async with server(Script([whole("first")], [SECOND])) as url:
        connection = Connection(url, None, 5.0)
        await connection.send("GET", "info")
        await until(lambda: connection.statistics()["open"] == 0)
        assert (await connection.send("GET", "info")).content == b"second"
        assert connection.statistics()["opened"] == 2
        await connection.aclose()


async def test_closing_ends_what_is_on_its_way() -> None:
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    async with server(serve) as url:
        connection = Connection(url, None, 5.0)
        task = asyncio.create_task(connection.send("GET", "info"))
        await asked.wait()
        await connection.aclose()
        with pytest.raises(EncoderUnavailable, match="cannot be reached"):
            await task


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_an_answer_like_any_other(status: int) -> None:
    """The operator has named a server: the texts and the key go to that one, or nowhere."""
    elsewhere = Script([SECOND])
    async with server(elsewhere) as other:
        head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {other}/info\r\nContent-Length: 0\r\n\r\n"
        script = Script([head.encode()])
        async with server(script) as url:
            connection = Connection(url, "key", 5.0)
            answer = await connection.send("GET", "info")
            await connection.aclose()
    assert (answer.status_code, answer.is_success) == (status, False)
    assert elsewhere.asked == []


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, script = Script([SECOND]), Script([whole("first")])
    async with server(proxy) as other, server(script) as url:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for variable in (name, name.lower()):
                monkeypatch.setenv(variable, other)
        connection = Connection(url, "key", 5.0)
        assert (await connection.send("GET", "info")).content == b"first"
        await connection.aclose()
    assert proxy.asked == []


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    script = Script([SECOND])
    async with server(script, tmp_path / "encoder.sock") as url:
        connection = Connection(url, None, 5.0)
        assert (await connection.send("GET", "info")).text == "second"
        await connection.aclose()


async def test_over_tls_with_a_server_that_is_who_it_says() -> None:
    proven = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    proven.load_cert_chain(CERTIFICATE)
    script = Script([SECOND, SECOND])
    async with server(script, tls=proven) as url:
        connection = Connection(url, None, 5.0)
        with pytest.raises(EncoderUnavailable, match="cannot be reached") as raised:
            await connection.send("GET", "info")
        assert isinstance(raised.value.__cause__.__cause__, ssl.SSLCertVerificationError)  # type: ignore[union-attr]
        assert script.asked == []
        connection._context().load_verify_locations(CERTIFICATE)
        assert (await connection.send("GET", "info")).text == "second"
        assert (await connection.send("GET", "info")).text == "second"
        await connection.aclose()
    assert [len(each) for each in script.asked] == [2]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("unix:///run/a%20b.sock", Address("/run/a b.sock", "", 0, False, "", "encoder")),
        ("http://host", Address(None, "host", 80, False, "", "host")),
        ("http://[::1]:8765/", Address(None, "::1", 8765, False, "", "[::1]:8765")),
        ("https://host/v1/", Address(None, "host", 443, True, "", "host")),
        ("https://host:8443/a/v1", Address(None, "host", 8443, True, "/a", "host:8443")),
    ],
)
def test_addresses(url: str, address: Address) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize("url", ["http://host:port", "http://:80", "http://[::1", "http://höst"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(EncoderUnavailable, match="address must be"):
        Connection(url, None, 1.0)


def test_a_key_of_two_lines_is_no_second_header() -> None:
    with pytest.raises(EncoderUnavailable, match="one line of ASCII"):
        Connection("http://host", "key\r\nHost: other", 1.0)
