"""The client against servers that are not ours, or not well."""

import asyncio
import base64
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.encoder.client import MAX_CHARS, MAX_TEXTS, EncoderClient, split
from app.errors import EncoderUnavailable, InvalidInput, TextNotEncodable
from tests.support.encoder import Handler, Reply, scripted_server

INFO = {"id": "m@1", "model": "m", "dimension": 2}


def answer(*vectors: Any) -> Reply:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return 200, {"object": "list", "data": data, "model": "m"}, {}


def script(embed: Callable[[dict[str, Any]], Reply | None]) -> Handler:
    """A server of ours whose embeddings are `embed(body)`."""

    async def handler(path: str, body: dict[str, Any]) -> Reply | None:
        return (200, INFO, {}) if path == "/info" else embed(body)

    return handler


async def refusal(embed: Callable[[dict[str, Any]], Reply | None]) -> EncoderUnavailable:
    async with (
        scripted_server(script(embed)) as url,
        await EncoderClient.connect(url) as client,
    ):
        with pytest.raises(EncoderUnavailable) as raised:
            await client.embed_query("text")
        return raised.value


async def not_encodable(embed: Callable[[dict[str, Any]], Reply | None]) -> TextNotEncodable:
    async with (
        scripted_server(script(embed)) as url,
        await EncoderClient.connect(url) as client,
    ):
        with pytest.raises(TextNotEncodable) as raised:
            await client.embed_documents(["a", "b", "c"])
        return raised.value


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.mark.parametrize(
    ("vectors", "sentence"),
    [
        ([packed(1, 0, 0)], "a vector of 3 numbers instead of 2"),
        ([], "0 vectors for 1 texts"),
        ([packed(1, 0), packed(0, 1)], "2 vectors for 1 texts"),
        (["AAA"], "cannot be read"),
        (["!!!!"], "cannot be read"),
        ([None], "cannot be read"),
        ([["one", "two"]], "cannot be read"),
    ],
)
async def test_a_bad_vector_is_never_passed_on(vectors: Sequence[Any], sentence: str) -> None:
    assert sentence in (await refusal(lambda _: answer(*vectors))).message


@pytest.mark.parametrize("number", [math.nan, math.inf, 0])
async def test_a_vector_without_a_length_is_an_error_of_its_text(number: float) -> None:
    vectors = (packed(1, 0), packed(number, 0), packed(0, 1))
    error = await not_encodable(lambda _: answer(*vectors))
    assert error.index == 1
    assert "not a number or zero" in error.message


async def test_a_text_without_a_vector_is_told_from_a_broken_server() -> None:
    fields = {"code": "encoding_failed", "param": "input[2]", "message": "No vector."}
    assert (await not_encodable(lambda _: (500, {"error": fields}, {}))).index == 2
    for other in (fields | {"code": "model_failed"}, fields | {"param": None}, "odd", None):
        reply: Reply = (500, {"error": other}, {})
        assert (await refusal(lambda _, reply=reply: reply)).retry_after is None


async def test_an_answer_that_is_none() -> None:
    assert "cannot be read" in (await refusal(lambda _: (200, {"oops": 1}, {}))).message


async def test_its_revision_goes_with_every_request_so_that_vectors_never_mix() -> None:
    seen: list[dict[str, Any]] = []

    def embed(body: dict[str, Any]) -> Reply:
        seen.append(body)
        return 404, {"error": {"message": "This server hosts other."}}, {}

    error = await refusal(embed)
    assert (seen[0]["model"], seen[0]["input_type"]) == ("m@1", "query")
    assert error.message == "The encoder answered 404: This server hosts other."


async def test_one_that_comes_back_as_another_model_is_not_back() -> None:
    hosted = dict(INFO)

    async def handler(path: str, body: dict[str, Any]) -> Reply:
        return (200, hosted, {}) if path == "/info" else answer(packed(1, 0))

    async with (
        scripted_server(handler) as url,
        await EncoderClient.connect(url) as client,
    ):
        await client.ping()
        hosted["id"] = "m@2"
        with pytest.raises(EncoderUnavailable, match="hosts m@2 now, and not m@1"):
            await client.ping()
        hosted.clear()
        with pytest.raises(EncoderUnavailable, match="no model that it tells now"):
            await client.ping()


async def test_overload_carries_the_time_to_wait() -> None:
    error = await refusal(lambda _: (429, {}, {"Retry-After": "7"}))
    assert (error.retry_after, error.status) == (7.0, 503)


async def test_a_refused_text_is_the_callers_mistake() -> None:
    reply: Reply = (400, {"error": {"message": "Too odd."}}, {})
    async with (
        scripted_server(script(lambda _: reply)) as url,
        await EncoderClient.connect(url) as client,
    ):
        with pytest.raises(InvalidInput, match=r"Too odd\."):
            await client.embed_query("text")
        with pytest.raises(InvalidInput, match="Unicode"):
            await client.embed_query("\ud800")


async def test_a_connection_that_breaks_is_tried_once_more() -> None:
    calls = 0

    def embed(_: dict[str, Any]) -> Reply | None:
        nonlocal calls
        calls += 1
        return answer(packed(0, 1)) if calls % 2 == 0 else None

    async with (
        scripted_server(script(embed)) as url,
        await EncoderClient.connect(url) as client,
    ):
        assert list(await client.embed_query("text")) == [0, 1]
    assert calls == 2


async def test_but_not_twice() -> None:
    calls = 0

    def embed(_: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1

    error = await refusal(embed)
    assert calls == 2
    assert error.__cause__ is not None


async def test_a_server_that_hangs_meets_the_deadline() -> None:
    never = asyncio.Event()

    async def handler(path: str, body: dict[str, Any]) -> Reply:
        if path != "/info":
            await never.wait()
        return 200, INFO, {}

    async with (
        scripted_server(handler) as url,
        await EncoderClient.connect(url, timeout_seconds=0.2) as client,
    ):
        with pytest.raises(EncoderUnavailable, match=r"within 0\.2 s"):
            await client.embed_query("text")
        never.set()


async def test_a_cancelled_call_leaves_the_client_usable() -> None:
    asked = asyncio.Event()
    never = asyncio.Event()

    async def handler(path: str, body: dict[str, Any]) -> Reply:
        if path == "/info":
            return 200, INFO, {}
        if body["input"] == ["slow"]:
            asked.set()
            await never.wait()
        return answer(packed(1, 0))

    async with (
        scripted_server(handler) as url,
        await EncoderClient.connect(url) as client,
    ):
        slow = asyncio.create_task(client.embed_query("slow"))
        await asked.wait()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert list(await client.embed_query("quick")) == [1, 0]
        never.set()


async def test_any_openai_compatible_server_will_do() -> None:
    seen: list[dict[str, Any]] = []

    async def handler(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/embeddings":
            seen.append(body)
            # Out of order, as numbers, and not of length one.
            data = [{"index": i, "embedding": [3.0, 4.0 + i]} for i in range(len(body["input"]))]
            return 200, {"data": data[::-1]}, {}
        if path == "/v1/models":
            return 200, {"data": []}, {}
        return 404, {}, {}

    async with scripted_server(handler) as url:
        with pytest.raises(EncoderUnavailable, match="configure its name"):
            await EncoderClient.connect(f"{url}/v1")
        async with await EncoderClient.connect(f"{url}/v1/", "key", "theirs") as client:
            assert (client.name, client.dimension) == ("theirs", 2)
            await client.ping()
            first, second = await client.embed_documents(["a", "b"])
    assert list(first) == pytest.approx([0.6, 0.8])
    assert list(second) == pytest.approx([3 / math.hypot(3, 5), 5 / math.hypot(3, 5)])
    assert all("input_type" not in body for body in seen)


async def test_another_model_than_the_configured_one_is_refused() -> None:
    async with scripted_server(script(lambda _: answer())) as url:
        with pytest.raises(EncoderUnavailable, match="hosts m, but other is configured"):
            await EncoderClient.connect(url, model="other")


async def test_a_server_that_still_loads_is_unavailable() -> None:
    async def handler(path: str, body: dict[str, Any]) -> Reply:
        return 503, {"error": {"message": "The model is not ready."}}, {"Retry-After": "1"}

    async with scripted_server(handler) as url:
        with pytest.raises(EncoderUnavailable, match="not ready") as raised:
            await EncoderClient.connect(url, model="m")
    assert raised.value.retry_after == 1


@pytest.mark.parametrize("url", ["", "encoder:80", "ftp://host", "unix://", "http://"])
async def test_an_address_of_no_known_form(url: str) -> None:
    with pytest.raises(EncoderUnavailable, match="address must be"):
        await EncoderClient.connect(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "unix:///nowhere/encoder.sock"])
async def test_nobody_at_the_address(url: str) -> None:
    with pytest.raises(EncoderUnavailable, match="cannot be reached") as raised:
        await EncoderClient.connect(url)
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        ([], []),
        (["a"], [1]),
        (["a"] * MAX_TEXTS, [MAX_TEXTS]),
        (["a"] * (MAX_TEXTS + 1), [MAX_TEXTS, 1]),
        (["a" * MAX_CHARS, "b", "c"], [1, 2]),
        (["a", "b" * MAX_CHARS, "c"], [1, 1, 1]),
        (["a" * (MAX_CHARS + 9)], [1]),
    ],
)
def test_requests_are_bounded_by_count_and_size(texts: list[str], sizes: list[int]) -> None:
    parts = list(split(texts))
    assert [len(part) for part in parts] == sizes
    assert [text for part in parts for text in part] == texts
