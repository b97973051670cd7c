"""Bodies beyond the limit, over real sockets: the answer comes early, and it arrives."""

import asyncio
import http.client
import json
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from app.api.middleware import DRAIN_SECONDS
from tests.api.sockets import connection, request_head, serving
from tests.support.api_fakes import World

MB = 1024 * 1024
TIMES = 70  # each of the three ways
DOCUMENTS = "/api/portfolios/1/documents"
CHUNK = b"%x\r\n%b\r\n" % (MB, b"x" * MB)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(World(max_request_bytes=2 * MB).app()) as port:
        yield port


def is_too_large(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413"), head
    return bool(json.loads(body)["code"] == "too_large")


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=b"])
@pytest.mark.parametrize("close", [(), ("Connection: close",)])
async def test_a_declared_50_mb_is_refused_before_it_is_sent(
    port: int, content_type: str, close: tuple[str, ...]
) -> None:
    async with connection(port) as (reader, writer):
        length = f"Content-Length: {50 * MB}"
        head = request_head("POST", DOCUMENTS, f"Content-Type: {content_type}", length, *close)
        writer.write(head)
        answer = await reader.readuntil(b"}")
        assert is_too_large(answer)


async def test_a_client_that_sends_it_all_still_reads_the_answer(port: int) -> None:
    """http.client sends everything before it reads, and closes: an early close would reset it."""

    def upload() -> tuple[int, str]:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        client.request("POST", DOCUMENTS, bytes(50 * MB), headers)
        response = client.getresponse()
        return response.status, json.loads(response.read())["code"]

    assert await asyncio.to_thread(upload) == (413, "too_large")


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=b"])
async def test_an_undeclared_50_mb_is_counted_and_not_kept(port: int, content_type: str) -> None:
    begin = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f.md"\r\n\r\n'
    async with connection(port) as (reader, writer):
        writer.write(
            request_head(
                "POST", DOCUMENTS, f"Content-Type: {content_type}", "Transfer-Encoding: chunked"
            )
        )
        writer.write(b"%x\r\n%b\r\n" % (len(begin), begin))
        tracemalloc.start()
        for _ in range(50):
            writer.write(CHUNK)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        answer = await reader.readuntil(b"}")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert is_too_large(answer)
        assert peak < 12 * MB
        # The rest was read and thrown away: the connection is good for another request.
        writer.write(request_head("GET", "/healthz"))
        assert await reader.readuntil(b'"ok"}')


async def test_a_small_body_of_a_question_has_its_own_limit(port: int) -> None:
    async with connection(port) as (reader, writer):
        length = f"Content-Length: {300 * 1024}"
        head = request_head("POST", "/api/agents/1/chat", "Content-Type: application/json", length)
        writer.write(head)
        assert is_too_large(await reader.readuntil(b"}"))


async def test_a_client_that_asks_first_sends_nothing(port: int) -> None:
    async with connection(port) as (reader, writer):
        headers = ("Content-Type: application/json", f"Content-Length: {50 * MB}")
        writer.write(request_head("POST", DOCUMENTS, *headers, "Expect: 100-continue"))
        assert is_too_large(await reader.readuntil(b"}"))


@pytest.mark.parametrize("expected", [(), ("Expect: something",), ("Expect: 100-continue",)])
async def test_no_answer_to_a_large_body_is_lost_in_a_reset(
    port: int, expected: tuple[str, ...]
) -> None:
    """The whole body goes out, whatever was said of it, and the answer is read to the end."""
    path, length = "/api/agents/1", f"Content-Length: {5 * MB}"
    headers = ("Content-Type: application/json", length, "Connection: close", *expected)
    sent = request_head("PATCH", path, *headers) + bytes(5 * MB)
    for _ in range(TIMES):
        async with connection(port) as (reader, writer):
            writer.write(sent)
            await writer.drain()
            assert is_too_large(await reader.read())


async def test_a_client_that_waits_to_be_told_is_not_kept(port: int) -> None:
    async with connection(port) as (reader, writer):
        headers = ("Content-Type: application/json", f"Content-Length: {50 * MB}")
        ends = ("Expect: 100-continue", "Connection: close")
        writer.write(request_head("POST", DOCUMENTS, *headers, *ends))
        async with asyncio.timeout(DRAIN_SECONDS / 2):
            assert is_too_large(await reader.read())


async def test_a_client_that_leaves_in_the_middle_is_no_error(port: int) -> None:
    async with connection(port) as (_, writer):
        headers = ("Content-Type: application/json", "Content-Length: 100")
        writer.write(request_head("POST", DOCUMENTS, *headers) + b'{"documents"')
        await writer.drain()
    async with connection(port) as (reader, writer):
        writer.write(request_head("GET", "/healthz"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
