"""The encoder's HTTP, spoken by hand: what odd, slow and hostile clients send."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest
import uvicorn
from openai import AsyncOpenAI, OpenAI

from app.encoder import api, arrival
from app.encoder.api import MAX_BODY_BYTES, create_encoder_app
from app.encoder.arrival import MAX_HEAD_BYTES, BoundedProtocol
from app.encoder.backend import Encoded, InputType, ModelInfo
from app.encoder.batcher import Batcher
from app.encoder.listening import bind
from app.encoder.wire import MAX_INPUTS
from tests.support.encoder import cosine, encoder_process

OK = b'{"input":"text"}'
PATIENCE = 30


@pytest.fixture(scope="module")
async def service(onnx: tuple[str, ...]) -> AsyncIterator[str]:
    async with encoder_process("--port", "0", *onnx) as (_, url):
        yield url


def request(
    line: str = "POST /v1/embeddings HTTP/1.1", body: bytes = OK, *headers: str, close: bool = True
) -> bytes:
    fields = ["Host: encoder", *headers]
    if not any("Transfer-Encoding" in header for header in headers):
        fields.append(f"Content-Length: {len(body)}")
    if close:
        fields.append("Connection: close")
    return "\r\n".join([line, *fields, "", ""]).encode() + body


async def answers_of(url: str, *pieces: bytes) -> list[tuple[int, bytes]]:
    """Status and body of everything that is answered until the service closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(PATIENCE):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            answers = []
            while head := await reader.readline():
                length = 0
                while (line := await reader.readline()).strip():
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                has_body = not (pieces and pieces[0].startswith(b"HEAD"))
                body = await reader.readexactly(length) if has_body else b""
                answers.append((int(head.split()[1]), body))
            return answers
    finally:
        writer.close()


CHUNKED = b"".join(b"1\r\n%c\r\n" % byte for byte in OK) + b"0\r\n\r\n"
REQUESTS: dict[str, tuple[bytes, int]] = {
    "of HTTP/1.0": (request("POST /v1/embeddings HTTP/1.0"), 200),
    "in chunks of a byte": (request("POST /v1/embeddings HTTP/1.1", CHUNKED,
        "Transfer-Encoding: chunked"), 200),
    "of another type": (request("POST /v1/embeddings HTTP/1.1", OK, "Content-Type: text/xml"), 200),
    "as large as it may be": (request(body=OK.ljust(MAX_BODY_BYTES)), 200),
    "of as many texts as it may": (request(body=json.dumps({"input": ["a"] * MAX_INPUTS}).encode()),
        200),
    "of a text more": (request(body=json.dumps({"input": ["a"] * (MAX_INPUTS + 1)}).encode()), 400),
    "of a NUL": (request(body=b'{"input":"\\u0000"}'), 200),
    "of a lone surrogate": (request(body=b'{"input":"\\ud800"}'), 400),
    "of a surrogate in UTF-8": (request(body=b'{"input":"\xed\xa0\x80"}'), 400),
    "of NaN": (request(body=b'{"input":"a","dimensions":NaN}'), 400),
    "of lists without an end": (request(body=b'{"input":' + b"[" * 100_000), 400),
    "compressed": (request("POST /v1/embeddings HTTP/1.1", b"\x1f\x8b\x08\0",
        "Content-Encoding: gzip"), 400),
    "without a body": (request(body=b""), 400),
    "to upgrade": (request("POST /v1/embeddings HTTP/1.1", OK, "Upgrade: h2c",
        "Connection: Upgrade", close=False), 400),
    "by HEAD": (request("HEAD /health HTTP/1.1", b""), 200),
    "by OPTIONS": (request("OPTIONS /v1/embeddings HTTP/1.1", b""), 405),
    "that is none": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "of two lengths": (request("POST /v1/embeddings HTTP/1.1", OK, "Content-Length: 3"), 400),
    "with too large a head": (b"GET /health HTTP/1.1\r\nX: ".ljust(MAX_HEAD_BYTES + 1, b"x"), 431),
}  # fmt: skip


@pytest.mark.parametrize(("content", "status"), REQUESTS.values(), ids=REQUESTS)
async def test_a_request(service: str, content: bytes, status: int) -> None:
    [(given, _)] = await answers_of(service, content)
    assert given == status


async def test_pipelined_requests_are_answered_in_their_order(service: str) -> None:
    empty = request(body=b'{"input":""}', close=False)
    last = request("GET /health HTTP/1.1", b"")
    answers = await answers_of(service, request(close=False) + empty + last)
    assert [status for status, _ in answers] == [200, 400, 200]


async def test_a_text_of_100_000_characters_is_truncated_and_says_so(service: str) -> None:
    texts = ["word " * 20_000, "a short one"]
    [(status, body)] = await answers_of(
        service, request(body=json.dumps({"input": texts}).encode())
    )
    assert status == 200
    answer = json.loads(body)
    assert len(answer["data"]) == 2
    assert answer["usage"]["truncated"] == 1
    assert 256 < answer["usage"]["prompt_tokens"] < 270


@pytest.mark.parametrize("encoding", ["base64", "float"])
@pytest.mark.parametrize("texts", ["one text", ["one text", "another"]], ids=["string", "list"])
async def test_openais_clients_work_unchanged(
    service: str, encoding: str, texts: str | list[str]
) -> None:
    wanted = {"model": "sentence-transformers/all-MiniLM-L6-v2", "input": texts}
    async with AsyncOpenAI(base_url=f"{service}/v1", api_key="none", max_retries=0) as client:
        plain = await client.embeddings.create(**wanted)  # type: ignore[arg-type]
        answer = await client.embeddings.create(**wanted, encoding_format=encoding)  # type: ignore[arg-type]
    assert len(answer.data) == (1 if isinstance(texts, str) else len(texts))
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    vector = answer.data[0].embedding
    if encoding == "float":
        assert cosine(vector, plain.data[0].embedding) == pytest.approx(1, abs=1e-5)
    with OpenAI(base_url=f"{service}/v1", api_key="none", max_retries=0) as blocking:
        same = await asyncio.to_thread(lambda: blocking.embeddings.create(**wanted))  # type: ignore[arg-type]
    assert same.data[0].embedding == plain.data[0].embedding


class Same:
    """Encodes every text to the same vector."""

    info = ModelInfo("same", "1", 2, 256, "cpu", "none")

    def encode(self, texts: Sequence[str], input_type: InputType) -> Encoded:
        count = len(texts)
        return Encoded([bytes(4) + b"\0\0\x80?"] * count, [1] * count, [False] * count)


@pytest.fixture
async def here() -> AsyncIterator[str]:
    """A service in this process, whose patience a test can shorten."""
    batcher = Batcher(Same)
    await batcher.start()
    listener = bind("127.0.0.1", 0, None)
    server = uvicorn.Server(
        uvicorn.Config(
            create_encoder_app(batcher), http=BoundedProtocol, lifespan="off", log_config=None
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener.socket]))
    yield listener.url
    server.should_exit = True
    await serving
    await batcher.stop(1)
    listener.close()


@pytest.mark.parametrize(
    "beginning",
    [b"", b"POST /v1/emb", b"GET /health HTTP/1.1\r\nHost: x\r\n", b"\r\n\r\n"],
    ids=["nothing", "a line", "a head", "blank lines"],
)
async def test_a_head_that_does_not_end_is_not_waited_for(
    here: str, beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "HEAD_SECONDS", 0.05)
    [(status, body)] = await answers_of(here, beginning)
    assert (status, json.loads(body)["error"]["type"]) == (408, "invalid_request_error")


async def test_nor_is_the_next_one_on_a_connection_that_was_good(
    here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "HEAD_SECONDS", 0.05)
    first = request("GET /health HTTP/1.1", b"", close=False)
    answers = await answers_of(here, first + request(close=False) + b"POST /v1/emb")
    assert [status for status, _ in answers] == [200, 200, 408]


async def test_a_body_that_does_not_end_is_not_waited_for(
    here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "BODY_SECONDS", 0.05)
    [(status, body)] = await answers_of(here, request(close=False)[:-1])
    assert (status, json.loads(body)["error"]["code"]) == (408, "invalid_input")


async def test_a_slow_client_holds_up_nobody(here: str) -> None:
    host, port = here.removeprefix("http://").split(":")
    slow = [await asyncio.open_connection(host, int(port)) for _ in range(100)]
    for _, writer in slow:
        writer.write(b"POST /v1/embeddings HTTP/1.1\r\nX: ")
    [(status, _)] = await answers_of(here, request())
    assert status == 200
    for _, writer in slow:
        writer.close()


async def test_an_idle_connection_outlives_the_bound_for_a_head(
    here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What bounds it there is the time for which connections are kept alive."""
    monkeypatch.setattr(arrival, "HEAD_SECONDS", 0.05)
    host, port = here.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for _ in range(2):
        writer.write(request("GET /health HTTP/1.1", b"", close=False))
        assert (await reader.readline()).split()[1] == b"200"
        assert await reader.readuntil(b'"ok"}')
        # Another connection meets the bound meanwhile.
        assert [status for status, _ in await answers_of(here, b"GET")] == [408]
    writer.close()


def test_the_bound_leaves_room_for_a_common_head() -> None:
    assert MAX_HEAD_BYTES >= 4 * 16_384
