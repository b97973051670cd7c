"""What every encoder promises, asked of the real client and service and of the tests' stand-in."""

import asyncio
import math
from collections.abc import AsyncIterator

import pytest

from app.chat.ports import Encoder
from app.encoder.client import EncoderClient
from app.errors import InvalidInput
from tests.support.encoder import HashEncoder, cosine, encoder_process


@pytest.fixture(scope="module")
async def torch_url() -> AsyncIterator[str]:
    async with encoder_process("--port", "0") as (_, url):
        yield url


@pytest.fixture(params=["hash", "torch", "onnx"])
async def encoder(
    request: pytest.FixtureRequest, encoder_url: str, torch_url: str
) -> AsyncIterator[Encoder]:
    if request.param == "hash":
        yield HashEncoder()
        return
    url = torch_url if request.param == "torch" else encoder_url
    async with await EncoderClient.connect(url, timeout_seconds=30) as client:
        yield client


async def test_has_a_name_and_a_dimension(encoder: Encoder) -> None:
    assert encoder.name
    assert encoder.dimension == 384


async def test_vectors_have_the_dimension_and_length_one(encoder: Encoder) -> None:
    documents = await encoder.embed_documents(["React is a library.", "¿Qué es React?", "日本語"])
    for vector in (await encoder.embed_query("What is React?"), *documents):
        assert len(vector) == encoder.dimension
        assert all(isinstance(number, float) for number in vector)
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-3)


async def test_the_same_text_has_the_same_vector(encoder: Encoder) -> None:
    first, second = await asyncio.gather(*(encoder.embed_query("one two three") for _ in range(2)))
    assert cosine(first, second) == pytest.approx(1, abs=1e-5)


async def test_no_documents_are_no_vectors(encoder: Encoder) -> None:
    assert list(await encoder.embed_documents([])) == []


async def test_documents_keep_their_order_whatever_their_lengths(encoder: Encoder) -> None:
    texts = [f"number {index} " + "word " * (index * 37 % 50) for index in range(150)]
    together = await encoder.embed_documents(texts)
    assert len(together) == len(texts)
    for index in (0, 1, 63, 64, 100, 149):
        [alone] = await encoder.embed_documents([texts[index]])
        assert cosine(alone, together[index]) == pytest.approx(1, abs=1e-4)


async def test_similar_texts_are_nearer(encoder: Encoder) -> None:
    question = await encoder.embed_query("Which database does the shop project use?")
    near, far = await encoder.embed_documents(
        ["The shop project uses the database Postgres.", "Bake bread at a high temperature."]
    )
    assert cosine(question, near) > cosine(question, far) + 0.2


async def test_an_empty_text_is_refused(encoder: Encoder) -> None:
    with pytest.raises(InvalidInput):
        await encoder.embed_query("")
    with pytest.raises(InvalidInput):
        await encoder.embed_documents(["a", ""])


async def test_odd_texts_are_encoded(encoder: Encoder) -> None:
    vectors = await encoder.embed_documents([" ", "\x00", "🙂", "word " * 20_000])
    assert len(vectors) == 4
