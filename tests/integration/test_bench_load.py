"""The yardstick, the provider and the clients of `citestream bench concurrency` and `memory`."""

import asyncio
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.bench.baseline_clients import Embedder, Redis, Vendor
from app.bench.library import STRIDE, documents, questions
from app.bench.workers import Worker, WorkerFailed, worker
from app.chat.complexity import analyze_query_complexity
from app.embedded import Servers
from app.encoder.backend import Encoded, InputType, ModelInfo
from app.ingest.chunk import split

TOKEN = b'data: {"type":"token","content":"a"}\n\n'
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def asked(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [], "stream": True}


async def texts_of(vendor: Vendor, model: str) -> list[str]:
    return [text async for texts in vendor.stream(asked(model)) for text in texts]


async def test_the_provider_says_so_many_tokens_and_the_yardstick_hears_all() -> None:
    async with worker("app.bench.provider") as provider:
        vendor = Vendor((await provider.read())["url"])
        for tokens in (1, 2, 40, 700):
            assert len(await texts_of(vendor, f"paced-0-0-{tokens}")) == tokens
        first, *_, last = await texts_of(vendor, "paced-0-0-32")
        assert (first, last) == (" the", " [1]")
        with pytest.raises(ConnectionError):
            await texts_of(vendor, "gpt-4o")
        both = await asyncio.gather(*(texts_of(vendor, "paced-0-0-99") for _ in range(2)))
        assert both[0] == both[1]


async def test_the_provider_keeps_its_pace() -> None:
    async with worker("app.bench.provider") as provider:
        vendor = Vendor((await provider.read())["url"])
        began = time.perf_counter()
        assert len(await texts_of(vendor, "paced-100-20-6")) == 6
        assert time.perf_counter() - began >= 0.2


async def test_held_answers_wait_behind_their_first_token() -> None:
    async with worker("app.bench.provider") as provider:
        vendor = Vendor((await provider.read())["url"])
        streams = [vendor.stream(asked(f"held-0-{pace}-20")) for pace in (0, 1, 0)]
        assert [await anext(each) for each in streams] == [[" the"]] * 3
        assert await provider.ask({"held": 3}) == {"held": 3}
        assert await provider.ask({"release": True}) == {"released": 3}
        for each in streams:
            assert len([text async for texts in each for text in texts]) == 19


async def test_commands_to_redis_go_side_by_side(servers: Servers) -> None:
    redis = await Redis.connect(servers.redis_url)
    answers = await asyncio.gather(
        redis.ask("SET", b"bench:\xff", b"kept\r\n", "EX", "9"), redis.ask("GET", b"bench:\xff"),
        redis.ask("GET", "bench:none"), redis.ask("DEL", b"bench:\xff"),
    )  # fmt: skip
    assert answers == [b"OK", b"kept\r\n", None, 1]


class Busy:
    """A backend that is busy until it is let go, and says what it was given."""

    info = ModelInfo("m", "r", 1, 9, "cpu", "onnx")

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str], input_type: InputType) -> Encoded:
        self.batches.append(list(texts))
        self.begun.set()
        assert self.go_on.wait(10)
        return Encoded([text.encode() for text in texts], [1] * len(texts), [False] * len(texts))


async def test_what_is_asked_while_the_model_is_busy_goes_together() -> None:
    backend = Busy()
    embedder = Embedder(backend)
    first = asyncio.create_task(embedder.embed("a"))
    await asyncio.to_thread(backend.begun.wait)
    rest = [asyncio.create_task(embedder.embed(text)) for text in "bcd"]
    await asyncio.sleep(0)  # all of them have asked
    rest[0].cancel()
    backend.go_on.set()
    assert await asyncio.gather(first, *rest[1:]) == [b"a", b"c", b"d"]
    assert backend.batches == [["a"], ["b", "c", "d"]]


def test_questions_are_all_different_and_alike_in_kind() -> None:
    some = questions(0, 5_000)
    assert len(set(some)) == 5_000 and some[100:200] == questions(100, 100)
    assert STRIDE % 2 and STRIDE % 3 and STRIDE % 5  # so that all come before one comes again
    assert {analyze_query_complexity(each)[1] for each in some} == {8}


def test_a_paragraph_is_a_chunk() -> None:
    made = list(documents(50))
    assert len(made) == 5
    assert {len(split(each.text, 900)) for each in made} == {10}


def test_what_is_asked_for_is_as_rare_as_in_real_texts() -> None:
    """Beside the shares of passages that the rarest words of XQuAD's questions are in."""
    chunks = [piece for each in documents(2_000) for piece in each.text.split("\n\n")]
    held = Counter(word for chunk in chunks for word in set(re.findall(r"\w+", chunk)))
    shares = [
        sorted(held[word] / len(chunks) for word in re.findall(r"\w+", each) if held[word])
        for each in questions(0, 200)
    ]
    rarest, second, third, *_ = [statistics.median(column) for column in zip(*shares, strict=False)]
    assert 0.002 < rarest < 0.008 and 0.004 < second < 0.016 and 0.008 < third < 0.032, shares[0]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[int]:
    """A server that answers whatever comes; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            await answer(writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def ask(clients: Worker, port: int, count: int, **more: Any) -> dict[str, Any]:
    task = {"do": "ask", "port": port, "requests": ["x"] * count, "clients": 2, "mark": "done"}
    return await clients.ask({**task, **more})


async def test_clients_count_tokens_wherever_they_are_cut() -> None:
    body = TOKEN * 3 + b'data: {"type":"done"}\n\n'
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked

    async def answer(writer: asyncio.StreamWriter) -> None:
        for place in range(0, len(whole), 7):
            writer.write(whole[place : place + 7])
            await writer.drain()
            await asyncio.sleep(0)

    async with answering(answer) as port, worker("app.bench.clients") as clients:
        heard = await ask(clients, port, 5)
    assert (heard["tokens"], heard["marked"], len(heard["whole"])) == (15, 5, 5)
    assert all(0 < first <= heard["seconds"] for first in heard["first"]) and heard["first"]


async def test_clients_know_the_end_of_an_answer_with_a_length() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nthe")
        await writer.drain()
        writer.write(b" done")

    async with answering(answer) as port, worker("app.bench.clients") as clients:
        heard = await ask(clients, port, 4)
    assert (heard["tokens"], heard["marked"], len(heard["whole"])) == (0, 4, 4)


@pytest.mark.parametrize("said", [b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", b""])
async def test_clients_say_what_was_answered_instead(said: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async with answering(answer) as port, worker("app.bench.clients") as clients:
        with pytest.raises(WorkerFailed, match="503" if said else "closed"):
            await ask(clients, port, 1)


async def test_open_streams_are_listened_to_and_left() -> None:
    left = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"%x\r\n%b\r\n" % (len(TOKEN), TOKEN))
            await asyncio.sleep(0.01)
        left.set()

    async with answering(answer) as port, worker("app.bench.clients") as clients:
        assert (await ask(clients, port, 3, do="open"))["open"] == 3
        watched = await clients.ask({"do": "watch", "seconds": 0.2})
        assert watched["ended"] == 0 < watched["tokens"] and min(watched["gaps"]) > 0
        assert len(watched["gaps"]) <= watched["tokens"] + 3  # and what each has waited at the end
        assert await clients.ask({"do": "close"}) == {"closed": 3}
        await left.wait()
